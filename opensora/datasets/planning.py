"""From a manifest and a training config to the batch plan of one stage."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from opensora.core.errors import ConfigError
from opensora.datasets.bucket import assign_buckets, parse_bucket_config
from opensora.datasets.plan import compile_plan
from opensora.datasets.plan_summary import summarize_plan

DEFAULT_VAE_STRIDE = (1, 8, 8)  # of Stable Diffusion's autoencoders, frame by frame
DEFAULT_PATCH_SIZE = (1, 2, 2)  # of STDiT-XL/2
TRAIN = "train"


class TrainingPlan(NamedTuple):
    """What `plan_training` makes: the first epoch's ASSIGNMENT, the plan, and its summary."""

    assignment: pd.DataFrame
    plan: pd.DataFrame
    summary: dict[str, Any]
    settings: dict[str, Any]


def plan_training(
    manifest: pd.DataFrame,
    config: Mapping[str, Any],
    *,
    world_size: int = 1,
    vae_stride: tuple[int, int, int] = DEFAULT_VAE_STRIDE,
) -> TrainingPlan:
    """Assign buckets for every epoch and compile the plan.

    Args:
        manifest: clips; where it has a column `split`, only rows of "train" are used.
        config: bucket_config, epochs, seed, frame_interval, model.patch_size, num_steps.
        world_size: data-parallel ranks.
        vae_stride: pixels of one latent value, to count tokens.

    Raises:
        ConfigError: no bucket_config, or no batch can be formed.
    """
    if not config.get("bucket_config"):
        raise ConfigError(
            "the config has no bucket_config; expected {resolution: {frames: (p, n)}}"
        )
    buckets = config["bucket_config"]
    seed, epochs = int(config.get("seed", 42)), int(config.get("epochs", 1))
    frame_interval = int(config.get("frame_interval", 1))
    for name, value in {"epochs": epochs, "frame_interval": frame_interval}.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; expected at least 1")
    clips = manifest[manifest["split"] == TRAIN] if "split" in manifest else manifest
    # without a random draw all epochs have the same assignment
    is_random = any(rule.is_random for rule in parse_bucket_config(buckets))
    assignments = [
        assign_buckets(clips, buckets, seed=seed, epoch=epoch, frame_interval=frame_interval)
        for epoch in range(epochs if is_random else 1)
    ]
    plan = compile_plan(assignments, buckets, seed=seed, epochs=epochs, world_size=world_size)
    patch = tuple((config.get("model") or {}).get("patch_size", DEFAULT_PATCH_SIZE))
    token_size = tuple(s * p for s, p in zip(vae_stride, patch, strict=True))
    summary = summarize_plan(assignments[0], plan, buckets, token_size=token_size)  # type: ignore[arg-type]
    steps, wanted = summary["totals"]["steps"], config.get("num_steps")
    if wanted and wanted > steps:
        summary["warnings"].append(
            f"num_steps is {wanted} but {epochs} epochs make {steps} steps: raise epochs to"
            f" {-(-wanted * epochs // steps)}"
        )
    settings = {"seed": seed, "frame_interval": frame_interval}
    return TrainingPlan(assignments[0], plan, summary, settings)
