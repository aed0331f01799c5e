"""Checkpoints of a running stage: `state/step_XXXXXXXX/`, whole or absent, the newest two kept.

Each holds hashes of its files. They are compared once, when a run starts: what a disk has changed
since is set aside as `unsound_step_XXXXXXXX`, and the run goes on from the newest sound one.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from opensora.config.load import save_config
from opensora.core.errors import CheckpointError, OpenSoraError
from opensora.core.io import atomic_path, read_json, sha256_file, write_json, write_text
from opensora.models.weights.files import reading_fault

log = logging.getLogger(__name__)

KEEP = 2
MODEL, EMA, OPTIMIZER, COUNTERS = "model.safetensors", "ema.safetensors", "optimizer.pt", "run.json"
METRICS = "metrics.jsonl"
_STEP_FOLDER = re.compile(r"step_(\d{8,})")
_BYTES, _HASHES, _SEAL = "bytes", "sha256", "seal"  # fields of run.json beside the counters


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
        losses: of the steps since the last line of metrics.
        encoders: identities of the VAE and the text encoder.
        base: hash of the weights that adapters sit on; None where the whole model is trained.
    """

    step: int
    micro_batches: int
    plan_hash: str
    recipe_hash: str
    finished: bool = False
    seconds: float = 0.0
    loss_ema: float | None = None
    losses: list[float] = field(default_factory=list)
    encoders: dict[str, Any] = field(default_factory=dict)
    base: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """What `write_checkpoint` wrote and `read_checkpoint` returns.

    Attributes:
        counters: where the run stands.
        model: its weights, or what `lora` trains of them.
        ema: the same, averaged.
        optimizer: state of the optimizer.
        metrics: text of metrics.jsonl up to here; None in checkpoints that carry none.
    """

    counters: Counters
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    metrics: str | None = None


def write_checkpoint(root: Path, checkpoint: Checkpoint) -> Path:
    """Write one checkpoint and remove all but the newest two; returns its folder.

    Its files are on the disk before it has its name, so that no power cut leaves it half.
    """
    target = root / f"step_{checkpoint.counters.step:08d}"
    with atomic_path(target, folder=True) as folder:
        save_tensors(folder / MODEL, checkpoint.model)
        save_tensors(folder / EMA, checkpoint.ema)
        torch.save(checkpoint.optimizer, folder / OPTIMIZER)
        if checkpoint.metrics is not None:
            (folder / METRICS).write_text(checkpoint.metrics, encoding="utf-8")
        files = sorted(folder.iterdir())
        sizes = {path.name: path.stat().st_size for path in files}
        fields = {**asdict(checkpoint.counters), _BYTES: sizes, _HASHES: _hashes(files)}
        write_json(folder / COUNTERS, {**fields, _SEAL: _seal(fields)})
        for path in (*files, folder / COUNTERS, folder):
            _sync(path)
    _sync(root)
    for _, old in _step_folders(root)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    log.info("checkpoint step=%d folder=%s", checkpoint.counters.step, target)
    return target


def clean_state(root: Path) -> None:
    """Leave only sound checkpoints below `root`, before a run looks for the newest one.

    Half-written ones go; those whose files have changed are set aside under another name.

    Raises:
        CheckpointError: there are checkpoints and none of them is sound.
    """
    for half in root.glob(".step_*"):
        log.info("checkpoint_swept folder=%s reason='half written'", half)
        shutil.rmtree(half, ignore_errors=True)
    for folder in newest_sound(root)[1]:
        aside = folder.with_name(f"unsound_{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(folder, aside)


def newest_sound(root: Path) -> tuple[Path | None, list[Path]]:
    """Find the highest checkpoint below `root` whose files are as they were written.

    Returns:
        Its folder, None where there are no checkpoints, and those above it, each named in the log.

    Raises:
        CheckpointError: there are checkpoints and none of them is sound.
    """
    passed: list[Path] = []
    reason = ""
    for _, folder in reversed(_step_folders(root)):
        try:
            check_checkpoint(folder)
            return folder, passed
        except CheckpointError as error:
            passed.append(folder)
            reason = reason or str(error)
            log.warning("checkpoint_passed_by reason='%s'", error)
    if passed:
        raise CheckpointError(
            f"{root}: no checkpoint is sound ({reason}); put a copy of one there, or remove the"
            " folder to start afresh"
        )
    return None, []


def check_checkpoint(folder: Path) -> Counters:
    """Compare all files of a checkpoint with the hashes that were written beside them.

    Returns:
        Its counters.

    Raises:
        CheckpointError: a file is missing or has changed; the message says which.
    """
    counters, fields = _read_counters(folder)
    hashes = fields.get(_HASHES, {})  # checkpoints of before have none
    found = _hashes([folder / name for name in hashes])
    for name in hashes:
        if found[name] != hashes[name]:
            raise CheckpointError(f"{folder}: {name} is not what was written")
    return counters


def newest_checkpoint(root: Path) -> tuple[Path, Counters] | None:
    """Find the highest complete checkpoint below `root`, by the sizes of its files."""
    for _, folder in reversed(_step_folders(root)):
        with suppress(CheckpointError):
            return folder, read_counters(folder)
    return None


def read_counters(folder: Path) -> Counters:
    """Counters of a checkpoint whose files are there in their sizes.

    Raises:
        CheckpointError: something is missing, cut, or does not add up.
    """
    return _read_counters(folder)[0]


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is meant to be a checkpoint, sound or not."""
    return bool(_STEP_FOLDER.fullmatch(folder.name)) or (folder / COUNTERS).is_file()


def _read_counters(folder: Path) -> tuple[Counters, dict[str, Any]]:
    """Counters of a checkpoint and all fields of its run.json; files must have their sizes.

    Raises:
        CheckpointError: something is missing, cut, or does not add up.
    """
    try:
        fields = read_json(folder / COUNTERS)
        seal = fields.pop(_SEAL, None)
        names = {entry.name for entry in dataclass_fields(Counters)}
        counters = Counters(**{name: fields[name] for name in fields if name in names})
        sizes = dict(fields[_BYTES])
    except (OpenSoraError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: {COUNTERS} can not be read") from error
    is_sealed = seal == _seal(fields) if _HASHES in fields or seal else True
    named = _STEP_FOLDER.fullmatch(folder.name)
    if not is_sealed or (named and int(named[1]) != counters.step):
        raise CheckpointError(f"{folder}: {COUNTERS} is not what was written")
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{folder}: {name} is missing")
        if path.stat().st_size != size:
            raise CheckpointError(f"{folder}: {name} has {path.stat().st_size} of its {size} bytes")
    return counters, fields


def _hashes(files: list[Path]) -> dict[str, str]:
    """Hash files side by side: name -> 64 hexadecimal digits."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip((path.name for path in files), pool.map(sha256_file, files), strict=True))


def _seal(fields: Mapping[str, Any]) -> str:
    """Hash of what stands in run.json."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk; some file systems can not say it of a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        with suppress(*([OSError] if path.is_dir() else [])):
            os.fsync(number)
    finally:
        os.close(number)


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
            metrics=_text_of(folder / METRICS),
        )
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: can not be read ({reading_fault(error)}); remove this folder to resume from"
            " the one before"
        ) from error


def _text_of(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors on the CPU, whatever device they are on."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def write_outputs(
    folder: Path,
    config: Any,
    metrics: str,
    *,
    model: Mapping[str, Tensor] | None,
    ema: Mapping[str, Tensor] | None,
) -> None:
    """Write the results of a finished stage: metrics.jsonl, weights and config.py, each whole.

    The config is the last: it notes the hashes of the weights, which their readers compare.

    Args:
        folder: the outputs of the stage.
        config: MMEngine config that says all there is to know of the run.
        metrics: text of metrics.jsonl.
        model: its weights; None leaves none behind.
        ema: averaged weights, likewise.
    """
    write_text(folder / METRICS, metrics)
    for name, tensors in ((MODEL, model), (EMA, ema)):
        if tensors is None:
            (folder / name).unlink(missing_ok=True)  # of a run with other settings
            continue
        with atomic_path(folder / name) as path:
            save_tensors(path, tensors)
    files = [folder / name for name in (MODEL, EMA) if (folder / name).exists()]
    save_config(config, folder / "config.py", written=_hashes(files))


def remove_checkpoints(root: Path) -> None:
    """Remove all checkpoints, to start afresh."""
    for _, folder in _step_folders(root):
        shutil.rmtree(folder, ignore_errors=True)


def _step_folders(root: Path) -> list[tuple[int, Path]]:
    """(step, folder) of everything named like a checkpoint, in order of the steps."""
    if not root.is_dir():
        return []
    found = [(_STEP_FOLDER.fullmatch(path.name), path) for path in root.iterdir()]
    return sorted((int(match[1]), path) for match, path in found if match)
