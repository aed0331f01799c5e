"""Where a run starts: its own newest checkpoint, the weights of an earlier stage, or nothing."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from torch import nn

from opensora.acceleration.workers import Workers
from opensora.config.load import load_config
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import sha256_file
from opensora.models.checkpoint import load_checkpoint
from opensora.plans.compile import BatchPlan
from opensora.training.config import TrainConfig
from opensora.training.replay import SOURCE, continues
from opensora.training.sources import Source
from opensora.training.state import (
    Checkpoint,
    Counters,
    newest_checkpoint,
    read_checkpoint,
    remove_checkpoints,
)

log = logging.getLogger(__name__)

EMA_FILE = "ema.safetensors"
_HOW_KEPT = ("dtype", "posterior", "seed", "version", "int8")  # fields of an encoder's identity


def recipe_hash(config: TrainConfig, source: Source, model: dict[str, Any]) -> str:
    """Hash everything besides the plan that decides the weights after a given step."""
    recipe = {
        name: getattr(config, name)
        for name in (
            *("scheduler", "optimizer", "lr", "warmup_steps", "lr_decay", "ema_decay", "grad_clip"),
            *("dtype", "plugin", "mask_ratios", "seed"),
        )
    }
    recipe["model"] = {**model, "from_pretrained": config.model.get("from_pretrained")}
    recipe["stores"] = [source.latent_identity, source.embedding_identity]
    if config.is_online:
        recipe["transform_name"] = config.dataset.get("transform_name")
    recipe["load"] = sha256_file(_weights_file(Path(config.load))) if config.load else None
    recipe["decays_over"] = config.num_steps if config.lr_decay else None
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def find_resumable(
    config: TrainConfig, workers: Workers, fresh: Counters, plan: BatchPlan
) -> Checkpoint | None:
    """Read the newest checkpoint of this run, if there is one.

    Checkpoints that a finished run of another plan or recipe left behind are removed: its results
    are what is being made anew. Those of an unfinished run are never removed.

    Raises:
        CheckpointError: an unfinished run of another plan or recipe stands in the folder.
    """
    found = newest_checkpoint(config.state_folder)
    if found is None:
        return None
    folder, counters = found
    problem = None
    if not continues(plan, counters):
        problem = f"of plan {counters.plan_hash[:8]} and this run has plan {fresh.plan_hash[:8]}"
    elif counters.recipe_hash != fresh.recipe_hash:
        problem = "of another recipe (model, scheduler, optimizer, seed, stores or loaded weights)"
    elif counters.step > (config.num_steps or counters.step):
        problem = f"beyond num_steps {config.num_steps}"
    elif counters.micro_batches > len(plan):
        problem = f"beyond the {len(plan)} micro batches of the plan"
    if problem is None:
        log.info("resume step=%d folder=%s", counters.step, folder)
        return read_checkpoint(folder, counters, workers.device)
    if counters.finished and plan.hash == plan.metadata.get(SOURCE, plan.hash):
        workers.gather(None)  # no worker may still be looking at what the next line removes
        if workers.is_main:
            remove_checkpoints(config.state_folder)
        log.info("start_afresh reason='the finished run in %s is %s'", config.state_folder, problem)
        return None
    kind = "a finished run whose data grew" if counters.finished else "an unfinished run"
    raise CheckpointError(
        f"{config.state_folder}: step {counters.step} of {kind} is {problem}; choose:"
        " bring the former settings back to resume it, remove the folder to start afresh, or keep"
        f" its weights with --load {folder / EMA_FILE} and other --outputs"
    )


def start_from(model: nn.Module, load: Path, source: Source) -> None:
    """Copy the weights of an earlier stage into the model.

    Raises:
        CheckpointError: names are missing or left over, or nothing can be read.
        ConfigError: the earlier stage was trained on other encoders.
    """
    path = _weights_file(load)
    beside = path.parent / "config.py"
    if beside.is_file():
        former = load_config(beside).to_dict().get("encoders", {})
        present = encoders(source)
        for name in former.keys() & present.keys():
            if _network(former[name]) != _network(present[name]):
                raise ConfigError(
                    f"load {path}: trained with {name} {former[name]}, this run has"
                    f" {present[name]}; encode with the same models or start without load"
                )
    report = load_checkpoint(model, path)
    strangers = [*report.missing, *report.unexpected]
    if strangers:
        raise CheckpointError(
            f"load {path}: {len(report.missing)} names of the model are missing and"
            f" {len(report.unexpected)} are left over ({', '.join(strangers[:3])}); give weights of"
            " this model, or name others as model.from_pretrained to use what fits"
        )


def encoders(source: Source) -> dict[str, Any]:
    """Identities of the encoders, as they stand in the saved config."""
    return {"vae": source.latent_identity, "text_encoder": source.embedding_identity}


def _network(identity: dict[str, Any]) -> dict[str, Any]:
    """What decides the meaning of latents or embeddings, not how precisely they were kept."""
    return {name: value for name, value in identity.items() if name not in _HOW_KEPT}


def _weights_file(load: Path) -> Path:
    path = load / EMA_FILE if load.is_dir() else load
    if not path.is_file():
        raise CheckpointError(f"load {load}: no file {path}; give a checkpoint of an earlier stage")
    return path
