"""`load`: starting from weights, or going on from a checkpoint of another run, in new outputs.

Weights alone (a file, or the outputs of a stage) start a run at step 0. A checkpoint of a running
stage holds optimizer, average and counters as well, and the run goes on where it stands.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opensora.acceleration.plugins import Engine
from opensora.acceleration.workers import Workers
from opensora.config.load import read_saved_config
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import atomic_path, sha256_file, write_text
from opensora.models.weights.checkpoint import load_checkpoint
from opensora.models.weights.parts import Stored, files_of
from opensora.plans.compile import BatchPlan
from opensora.training.checkpoint import (
    EMA,
    METRICS,
    Checkpoint,
    Counters,
    check_checkpoint,
    is_checkpoint,
    newest_sound,
    read_checkpoint,
    read_counters,
)
from opensora.training.config import STATE, TrainConfig
from opensora.training.data import BatchSource
from opensora.training.ema import Ema
from opensora.training.plan import continues_plan
from opensora.training.rejects import FILE as REJECTED

log = logging.getLogger(__name__)

# fields of an encoder's identity
_HOW_KEPT = ("dtype", "posterior", "seed", "version", "int8", "num_tokens")


def checkpoint_to_load(given: str | None) -> Path | None:
    """The checkpoint that `load` means, its files compared with their hashes.

    Args:
        given: a folder `step_XXXXXXXX`; a `state` folder, or outputs that have no weights yet,
            whose newest sound checkpoint is meant; or weights.

    Returns:
        Its folder; None where weights alone are meant.

    Raises:
        CheckpointError: it has changed since it was written.
    """
    if given is None:
        return None
    load = Path(given)
    if is_checkpoint(load):
        check_checkpoint(load)
        return load
    if load.is_dir() and not (load / EMA).is_file():
        return newest_sound(load)[0] or newest_sound(load / STATE)[0]
    return None


def weights_file(load: Path) -> Path:
    """The weights that `load` means; they may lie in parts beside the file of that name.

    Raises:
        CheckpointError: there are none.
    """
    path = load / EMA if load.is_dir() else load
    if not files_of(path):
        raise CheckpointError(f"load {load}: no file {path}; give a checkpoint of an earlier stage")
    return path


def hash_of_load(load: Path, checkpoint: Path | None) -> str:
    """What identifies that which a run starts from.

    Raises:
        CheckpointError: there is nothing.
    """
    if checkpoint is None:
        return _hash_of(weights_file(load))
    # the weights fit to one optimizer state; counters hold times, which differ from run to run
    return f"{read_counters(checkpoint).step} {_hash_of(checkpoint / EMA)}"


def _hash_of(weights: Path) -> str:
    hashes = [sha256_file(path) for path in files_of(weights)]
    return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()


def continue_from(
    folder: Path,
    config: TrainConfig,
    workers: Workers,
    plan: BatchPlan,
    fresh: Counters,
) -> Checkpoint:
    """Read a checkpoint of another run as if it were one of this run.

    Settings are those of this run. Where its plan goes on from what the other one trained, it does
    so at that place; any other plan begins at its first batch. The log says which.

    Args:
        folder: of the checkpoint.
        config: of this run.
        workers: of this run.
        plan: that this run replays.
        fresh: counters of this run before its first step.

    Raises:
        CheckpointError: it can not be read, or stands beyond the end of this run.
        ConfigError: it was trained on other encoders.
    """
    read = read_checkpoint(folder, read_counters(folder))
    former = read.counters
    require_same_encoders(f"load {folder}", former.encoders, fresh.encoders)
    end = config.last_step
    if end is not None and former.step > end:
        raise CheckpointError(
            f"load {folder}: step {former.step} is beyond step {end}, where this run ends; raise"
            f" num_steps or until, or give its weights alone: --load {folder / EMA}"
        )
    goes_on = continues_plan(plan, former)
    log.info(
        "load step=%d folder=%s plan='%s'",
        former.step,
        folder,
        f"goes on after {former.micro_batches} micro batches"
        if goes_on
        else "another one, from its first batch",
    )
    if workers.is_main:
        state = config.state_folder
        write_text(state / METRICS, read.metrics or "")
        if (folder.parent / REJECTED).is_file():
            with atomic_path(state / REJECTED) as path:
                shutil.copyfile(folder.parent / REJECTED, path)
    counters = replace(
        former,
        micro_batches=former.micro_batches if goes_on else 0,
        plan_hash=fresh.plan_hash,
        recipe_hash=fresh.recipe_hash,
        encoders=fresh.encoders,
    )
    return replace(read, counters=counters)


def start_from(model: nn.Module, load: Path, source: BatchSource) -> None:
    """Copy the weights of an earlier stage into the model.

    Raises:
        CheckpointError: names are missing or left over, or nothing can be read.
        ConfigError: the earlier stage was trained on other encoders.
    """
    path = weights_file(load)
    beside = path.parent / "config.py"
    if beside.is_file():
        former = read_saved_config(beside).get("encoders") or {}
        require_same_encoders(f"load {path}", former, encoder_identities(source))
    report = load_checkpoint(model, path)
    unmatched = [*report.missing, *report.unexpected]
    if unmatched:
        raise CheckpointError(
            f"load {path}: {len(report.missing)} names of the model are missing and"
            f" {len(report.unexpected)} are left over ({', '.join(unmatched[:3])}); give weights of"
            " this model, or name others as model.from_pretrained to use what fits"
        )


@torch.no_grad()
def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights of a checkpoint into the model, one after the other.

    Raises:
        CheckpointError: they are those of another model.
    """
    own = model.state_dict()
    strangers = sorted(own.keys() ^ weights.keys())
    differ = [] if strangers else [name for name in own if _kind(own[name]) != _kind(weights[name])]
    if strangers or differ:
        name = (strangers or differ)[0]
        there, here = (_kind(place.get(name)) for place in (weights, own))
        raise CheckpointError(
            f"load: the checkpoint is of another model ({name} is {there} there and {here} here);"
            " set the model that it was trained with"
        )
    for name, value in own.items():
        value.copy_(weights[name])


def _kind(value: Tensor | None) -> str:
    """Shape and type of a tensor, in words."""
    return "missing" if value is None else f"{list(value.shape)} of {value.dtype}"


def restore(engine: Engine, ema: Ema | None, checkpoint: Checkpoint, average: Stored) -> None:
    """Copy average and optimizer state of a checkpoint, each worker what it holds of them.

    Args:
        engine: holds the optimizer.
        ema: of this worker.
        checkpoint: with the optimizer's state.
        average: by the names of the model.

    Raises:
        CheckpointError: they are those of another optimizer.
    """
    try:
        engine.load_state_dict(checkpoint.optimizer_state, checkpoint.optimizer)
        if ema is not None:
            engine.trained.fill(ema.average, average)
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"load: the checkpoint is of another optimizer ({error}); set the one that it was"
            " trained with, or give its weights alone: its ema.safetensors"
        ) from error


def require_same_encoders(
    place: str, former: Mapping[str, Any], present: Mapping[str, Any]
) -> None:
    """Refuse weights that were trained on latents or embeddings of other encoders.

    Args:
        place: start of the sentence.
        former: name of an encoder -> its identity, in the run that made the weights.
        present: the same of this run.

    Raises:
        ConfigError: they differ.
    """
    for name in former.keys() & present.keys():
        if _network(former[name]) != _network(present[name]):
            raise ConfigError(
                f"{place}: trained with {name} {former[name]}, this run has {present[name]}; encode"
                " with the same models or start without load"
            )


def _network(identity: dict[str, Any]) -> dict[str, Any]:
    """What decides the meaning of latents or embeddings, not how precisely they were kept."""
    return {name: value for name, value in identity.items() if name not in _HOW_KEPT}


def encoder_identities(source: BatchSource) -> dict[str, Any]:
    """Identities of the encoders, as they stand in the saved config."""
    return {"vae": source.latent_identity, "text_encoder": source.embedding_identity}
