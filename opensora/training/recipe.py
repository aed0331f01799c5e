"""What decides a run besides its plan: a checkpoint of another recipe is not resumed."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from opensora.models.lora.settings import LoraSettings
from opensora.training.config import TrainConfig
from opensora.training.data import BatchSource
from opensora.training.load import hash_of_load


def recipe_hash(
    config: TrainConfig, source: BatchSource, model: dict[str, Any], loaded: Path | None
) -> str:
    """Hash everything besides the plan that decides the weights after a given step.

    Args:
        config: the fields of the stage.
        source: its data.
        model: its model, as resolved.
        loaded: the checkpoint that `load` means, if it means one.
    """
    recipe = {
        name: getattr(config, name)
        for name in (
            *("scheduler", "optimizer", "lr", "warmup_steps", "lr_decay", "ema_decay", "grad_clip"),
            *("dtype", "plugin", "mask_ratios", "seed"),
        )
    }
    recipe["model"] = {**model, "from_pretrained": config.model.get("from_pretrained")}
    recipe["stores"] = [source.latent_identity, source.embedding_identity]
    for name in ("windows", "captions"):
        if (count := getattr(source, name)) > 1:  # another number is another course of the plan
            recipe[name] = count
    if config.is_online:
        recipe["transform_name"] = config.dataset.get("transform_name")
    if config.lora is not None:
        recipe["lora"] = asdict(LoraSettings.of(config.lora))
    if config.accumulate > 1:  # runs begun before there was the field go on
        recipe["accumulate"] = config.accumulate
    for name in ("residual_dtype", "reduce_dtype"):
        if getattr(config, name) != "fp32":
            recipe[name] = getattr(config, name)
    if config.compile:
        recipe["compile"] = True
    recipe["load"] = hash_of_load(Path(config.load), loaded) if config.load else None
    recipe["decays_over"] = config.num_steps if config.lr_decay else None
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
