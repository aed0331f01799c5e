"""What a stage will cost before anything expensive runs: tokens, operations, disk, GPU-hours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.buckets.bucket import Bucket, Size3, TokenGrid
from opensora.buckets.bucket_config import parse_bucket_config
from opensora.config.groups import count_groups
from opensora.core.errors import ConfigError
from opensora.plans.budget.cost import Cost, model_cost
from opensora.plans.budget.disk import Storage, disk_use
from opensora.plans.budget.machine import Machine
from opensora.plans.budget.memory import USABLE, Setup, advice, training_gb
from opensora.plans.compile import explain_no_batch
from opensora.plans.micro_batches import count_cells, trained_cells
from opensora.plans.stage_plan import (
    EpochAssignments,
    bucket_config_of,
    check_accumulate,
    training_clips,
)
from opensora.plans.summary import cut_away, describe_buckets
from opensora.tables.columns import ID, TEXT


def forecast(
    manifest: pd.DataFrame,
    config: Mapping[str, Any],
    *,
    vae_stride: Size3,
    frame_chunk: int | None = None,
    storage: Storage,
    machine: Machine,
) -> dict[str, Any]:
    """Forecast a training stage.

    Args:
        manifest: clips with id, text, num_frames, height, width.
        config: of training: buckets, epochs, model, grad_checkpoint.
        vae_stride: pixels of one latent value.
        frame_chunk: frames that the autoencoder compresses together; None = all.
        storage: how latents and embeddings are stored.
        machine: GPUs and time.

    Returns:
        `buckets`: per bucket samples, batches, tokens, flops, latent_bytes and gpu_hours of the
        first epoch, and memory_gb of one micro batch; `epoch`: their sums; `disk`: of all epochs,
        and per sample beside the reference's; `budget`: what the machine's time buys; `memory`: of
        the largest micro batch, and what makes it fit; `model` and `machine`.
    """
    cost = model_cost(config)
    grid = TokenGrid(vae_stride, cost.patch_size, frame_chunk)
    clips = training_clips(manifest)
    buckets = _buckets(clips, config, cost, grid, storage, machine)
    sums = ("samples", "cut", "batches", "trained", "tokens", "flops", "latent_bytes", "gpu_hours")
    epoch = {name: sum(row[name] for row in buckets.values()) for name in sums}
    texts = manifest.loc[manifest[ID].isin(clips[ID]), TEXT]
    return {
        "buckets": buckets,
        "epoch": epoch,
        "disk": disk_use(clips, texts, config, cost, grid, storage),
        "budget": _budget(
            epoch,
            config,
            machine,
            per_step=count_groups(machine.gpus, config.get("sp_size", 1))
            * check_accumulate(config.get("accumulate", 1)),
        ),
        "memory": _memory(buckets, config, cost, machine),
        "model": {
            "type": config["model"]["type"],
            "parameters": cost.parameters,
            "trained": cost.parameters - cost.frozen,
            "passes": 4 if config.get("grad_checkpoint") else 3,
        },
        "machine": vars(machine),
    }


def _buckets(
    clips: pd.DataFrame,
    config: Mapping[str, Any],
    cost: Cost,
    grid: TokenGrid,
    storage: Storage,
    machine: Machine,
) -> dict[str, dict[str, Any]]:
    """Describe the first epoch, bucket by bucket."""
    assignment = EpochAssignments(clips, config)[0]
    drop_last = bool(config.get("drop_last", True))
    rules = parse_bucket_config(bucket_config_of(config))
    cells = count_cells(assignment)
    targets = trained_cells(cells, rules, drop_last=drop_last)
    cut = cut_away(clips, assignment, targets)
    rows = describe_buckets(cells, targets, rules, grid, cut=cut, drop_last=drop_last)
    if not rows:
        raise ConfigError(explain_no_batch(assignment, rules))
    recompute = bool(config.get("grad_checkpoint"))
    setup = Setup.of(config, gpus=machine.gpus, frozen=cost.frozen)
    for name, row in rows.items():
        bucket = Bucket.parse(name)
        in_hand = min(row["batch_size"], row["samples"]) * row["tokens_per_sample"]
        in_hand *= row["batches"] > 0
        flops = cost.training_flops(grid.token_grid(bucket), grad_checkpoint=recompute)
        trained = min(row["batches"] * row["batch_size"], row["samples"])
        size = grid.latent_size(bucket)
        latent = storage.latent_bytes(cost.in_channels, size, cost.given_values(size))
        row |= {
            "trained": trained,
            "cut": row["cropped"] * row["samples"],
            "tokens": trained * row["tokens_per_sample"],
            "flops_per_sample": flops,
            "flops": trained * flops,
            "latent_bytes": row["samples"] * latent,
            "gpu_hours": trained * flops / machine.gpu_flops / 3600,
            "memory_gb": training_gb(cost, in_hand, setup),
        }
    return rows


def _memory(
    buckets: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
    cost: Cost,
    machine: Machine,
) -> dict[str, Any]:
    """The bucket that needs most, and what makes it fit where it does not."""
    bucket = max(buckets, key=lambda name: buckets[name]["memory_gb"])
    row, usable = buckets[bucket], machine.memory * USABLE
    setup, words = Setup.of(config, gpus=machine.gpus, frozen=cost.frozen), ""
    if row["memory_gb"] > usable:
        words = advice(cost, row["batch_size"], row["tokens_per_sample"], setup, usable)
    return {"bucket": bucket, "gb": row["memory_gb"], "usable_gb": usable, "advice": words}


def _budget(
    epoch: Mapping[str, float], config: Mapping[str, Any], machine: Machine, *, per_step: int
) -> dict[str, float]:
    """What the machine's hours buy, and what the configured epochs need.

    Args:
        epoch: sums of the first epoch.
        config: of training; it ends after its epochs, or before them after `num_steps`.
        machine: GPUs and hours.
        per_step: micro batches of a step; the GPUs of a group share one.
    """
    flops = machine.gpus * machine.hours * 3600 * machine.gpu_flops
    bought = flops / epoch["flops"]
    steps = epoch["batches"] / per_step
    epochs = float(config.get("epochs", 1))
    if config.get("num_steps"):
        epochs = min(epochs, config["num_steps"] / steps)
    return {
        "epochs": bought,
        "steps": bought * steps,
        "samples": bought * epoch["trained"],
        "needed_epochs": epochs,
        "needed_gpu_hours": epochs * epoch["gpu_hours"],
        "needed_hours": epochs * epoch["gpu_hours"] / machine.gpus,
        "seconds_per_batch": epoch["gpu_hours"] * 3600 / epoch["batches"],
    }


def measured_mfu(
    metrics: Path,
    cost: Cost,
    grid: TokenGrid,
    *,
    grad_checkpoint: bool,
    gpus: int,
    peak_tflops: float,
) -> float:
    """Read the share of the peak that a run reached from its metrics.jsonl.

    Each line says how many samples per second went through since the line before, and names the
    bucket of its last step.

    Args:
        metrics: the file.
        cost: widths of the run's model.
        grid: size of its latents and tokens.
        grad_checkpoint: whether the run recomputed activations.
        gpus: number of GPUs it ran on.
        peak_tflops: dense bf16 TFLOP/s of one.

    Raises:
        ConfigError: no line that says so.
    """
    done, before = 0.0, 0.0
    try:
        for line in metrics.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            samples = row["samples_per_s"] * (row["seconds"] - before)
            before = row["seconds"]
            tokens = grid.token_grid(Bucket.parse(row["bucket"]))
            done += samples * cost.training_flops(tokens, grad_checkpoint=grad_checkpoint)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{metrics}: expected metrics.jsonl of a training run, with seconds, bucket and"
            f" samples_per_s in every line ({error})"
        ) from error
    if not before:
        raise ConfigError(f"{metrics}: holds no line; give the metrics of a run that has trained")
    return done / (before * gpus * peak_tflops * 1e12)
