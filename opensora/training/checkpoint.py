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
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from opensora.config.load import save_config
from opensora.core.errors import CheckpointError, OpenSoraError
from opensora.core.io import atomic_path, read_json, sha256_file, write_text
from opensora.models.weights.files import reading_fault
from opensora.models.weights.parts import Part, Stored, files_of, read_parts

log = logging.getLogger(__name__)

KEEP = 2
MODEL, EMA, OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.safetensors"
COUNTERS, METRICS = "run.json", "metrics.jsonl"
_FORMER_OPTIMIZER = "optimizer.pt"  # whole, of checkpoints of before
_STEP_FOLDER = re.compile(r"step_(\d{8,})")
# fields of run.json beside the counters
_BYTES, _HASHES, _SEAL, _OPTIMIZER = "bytes", "sha256", "seal", "optimizer"
_READ_ERRORS = (SafetensorError, UnpicklingError, RuntimeError, LookupError, ValueError, TypeError)


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
        loss_sums: of those steps by bucket and noise band.
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
    loss_sums: dict[str, list[list[float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """What `read_checkpoint` returns.

    Attributes:
        counters: where the run stands.
        model: its weights, or what `lora` trains of them.
        ema: the same, averaged.
        optimizer: tensors of the optimizer's state.
        optimizer_state: the rest of it.
        metrics: text of metrics.jsonl up to here; None in checkpoints that carry none.
    """

    counters: Counters
    model: Stored
    ema: Stored
    optimizer: Stored
    optimizer_state: dict[str, Any]
    metrics: str | None = None


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
    for _, folder in reversed(step_folders(root)):
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
    found = hashes_of([folder / name for name in hashes])
    for name in hashes:
        if found[name] != hashes[name]:
            raise CheckpointError(f"{folder}: {name} is not what was written")
    return counters


def newest_checkpoint(root: Path) -> tuple[Path, Counters] | None:
    """Find the highest complete checkpoint below `root`, by the sizes of its files."""
    for _, folder in reversed(step_folders(root)):
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


def sealed(fields: Mapping[str, Any], files: Mapping[str, tuple[int, str]]) -> dict[str, Any]:
    """What stands in run.json.

    Args:
        fields: counters and the numbers of the optimizer's state.
        files: name of each other file -> its bytes and its hash.
    """
    sizes = {name: size for name, (size, _) in files.items()}
    whole = {**fields, _BYTES: sizes, _HASHES: {name: sha for name, (_, sha) in files.items()}}
    return {**whole, _SEAL: _seal(whole)}


def hashes_of(files: list[Path]) -> dict[str, str]:
    """Hash files side by side: name -> 64 hexadecimal digits."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip((path.name for path in files), pool.map(sha256_file, files), strict=True))


def _seal(fields: Mapping[str, Any]) -> str:
    """Hash of what stands in run.json."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def read_checkpoint(folder: Path, counters: Counters) -> Checkpoint:
    """Open the tensors of a checkpoint; each is read when it is asked for.

    Raises:
        CheckpointError: a file can not be read.
    """
    try:
        tensors = {name: read_parts(files_of(folder / name)) for name in (MODEL, EMA)}
        state: dict[str, Any] = read_json(folder / COUNTERS).get(_OPTIMIZER, {})
        if (folder / _FORMER_OPTIMIZER).is_file():
            moments, state = _read_former(folder / _FORMER_OPTIMIZER)
        else:
            moments = read_parts(files_of(folder / OPTIMIZER))
        return Checkpoint(
            counters=counters,
            model=tensors[MODEL],
            ema=tensors[EMA],
            optimizer=moments,
            optimizer_state=state,
            metrics=_text_of(folder / METRICS),
        )
    except (OSError, *_READ_ERRORS) as error:
        raise CheckpointError(
            f"{folder}: can not be read ({reading_fault(error)}); remove this folder to resume from"
            " the one before"
        ) from error


def _read_former(path: Path) -> tuple[Stored, dict[str, Any]]:
    """Tensors, by the numbers of their parameters, and the rest of a whole optimizer's state."""
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    moments = {
        f"{key}.{index}": Part(value, tuple(value.shape))
        for index, entries in content.pop("state").items()
        for key, value in entries.items()
    }
    return Stored([moments]), content


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
    save_config(config, folder / "config.py", written=hashes_of(files))


def remove_checkpoints(root: Path) -> None:
    """Remove all checkpoints, to start afresh."""
    for _, folder in step_folders(root):
        shutil.rmtree(folder, ignore_errors=True)


def step_folder(root: Path, step: int) -> Path:
    """Where the checkpoint of a step stands."""
    return root / f"step_{step:08d}"


def step_folders(root: Path) -> list[tuple[int, Path]]:
    """(step, folder) of everything named like a checkpoint, in order of the steps."""
    if not root.is_dir():
        return []
    found = [(_STEP_FOLDER.fullmatch(path.name), path) for path in root.iterdir()]
    return sorted((int(match[1]), path) for match, path in found if match)
