"""Checkpoints of a running stage: `state/step_XXXXXXXX/`, whole or absent, the newest two kept."""

import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from opensora.config.load import save_config
from opensora.core.errors import CheckpointError, OpenSoraError
from opensora.core.io import atomic_path, read_json, write_json
from opensora.models.weights.files import reading_fault

log = logging.getLogger(__name__)

KEEP = 2
MODEL, EMA, OPTIMIZER, COUNTERS = "model.safetensors", "ema.safetensors", "optimizer.pt", "run.json"


@dataclass(frozen=True)
class Counters:
    """Where a run stands, besides its tensors.

    Everything random is a function of (seed, micro batch) and the learning rate one of the step,
    so these numbers stand for the random state and the schedule as well.

    Attributes:
        step: optimizer steps done.
        micro_batches: entries of the plan used, by all workers together.
        plan_hash: identity of the plan.
        recipe_hash: identity of everything else that decides the course of the run.
        finished: the run reached its last step.
        seconds: time spent in training steps.
        loss_ema: smoothed loss.
    """

    step: int
    micro_batches: int
    plan_hash: str
    recipe_hash: str
    finished: bool = False
    seconds: float = 0.0
    loss_ema: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """What `write_checkpoint` wrote and `read_checkpoint` returns."""

    counters: Counters
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]


def write_checkpoint(root: Path, checkpoint: Checkpoint) -> Path:
    """Write one checkpoint and remove all but the newest two; returns its folder."""
    target = root / f"step_{checkpoint.counters.step:08d}"
    with atomic_path(target, folder=True) as folder:
        save_tensors(folder / MODEL, checkpoint.model)
        save_tensors(folder / EMA, checkpoint.ema)
        torch.save(checkpoint.optimizer, folder / OPTIMIZER)
        sizes = {name: (folder / name).stat().st_size for name in (MODEL, EMA, OPTIMIZER)}
        write_json(folder / COUNTERS, {**asdict(checkpoint.counters), "bytes": sizes})
    for _, old in _step_folders(root)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    log.info("checkpoint step=%d folder=%s", checkpoint.counters.step, target)
    return target


def newest_checkpoint(root: Path) -> tuple[Path, Counters] | None:
    """Find the highest complete checkpoint below `root`; others are named and passed by."""
    for _, folder in reversed(_step_folders(root)):
        try:
            fields = read_json(folder / COUNTERS)
            sizes = fields.pop("bytes")
            whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
            counters = Counters(**fields)
        except (OpenSoraError, OSError, KeyError, TypeError):
            whole = False
        if whole:
            return folder, counters
        log.warning("checkpoint_incomplete folder=%s", folder)
    return None


def read_checkpoint(folder: Path, counters: Counters, device: torch.device) -> Checkpoint:
    """Read the tensors of a checkpoint.

    Raises:
        CheckpointError: a file can not be read.
    """
    try:
        return Checkpoint(
            counters=counters,
            model=load_file(folder / MODEL, device=str(device)),
            ema=load_file(folder / EMA, device=str(device)),
            optimizer=torch.load(folder / OPTIMIZER, map_location=device, weights_only=True),
        )
    except (OSError, SafetensorError, UnpicklingError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: can not be read ({reading_fault(error)}); remove this folder to resume from"
            " the one before"
        ) from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors on the CPU, whatever device they are on."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def write_outputs(
    folder: Path,
    config: Any,
    metrics: Path,
    *,
    model: Mapping[str, Tensor],
    ema: Mapping[str, Tensor],
) -> None:
    """Write the results of a finished stage: config.py, metrics.jsonl and weights, each whole.

    Args:
        folder: the outputs of the stage.
        config: MMEngine config that says all there is to know of the run.
        metrics: metrics.jsonl of the run.
        model: its weights.
        ema: averaged weights.
    """
    save_config(config, folder / "config.py")
    with atomic_path(folder / "metrics.jsonl") as path:
        shutil.copyfile(metrics, path)
    with atomic_path(folder / MODEL) as path:
        save_tensors(path, model)
    with atomic_path(folder / EMA) as path:
        save_tensors(path, ema)


def remove_checkpoints(root: Path) -> None:
    """Remove all checkpoints, to start afresh."""
    for _, folder in _step_folders(root):
        shutil.rmtree(folder, ignore_errors=True)


def _step_folders(root: Path) -> list[tuple[int, Path]]:
    """(step, folder) of everything named like a checkpoint, in order of the steps."""
    if not root.is_dir():
        return []
    found = [(re.fullmatch(r"step_(\d{8,})", path.name), path) for path in root.iterdir()]
    return sorted((int(match[1]), path) for match, path in found if match)
