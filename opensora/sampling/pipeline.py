"""Load what sampling needs: the trained model, the VAE, the text encoder, the scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opensora.core.config import load_config
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import sha256_file
from opensora.core.registry import MODELS, SCHEDULERS, build_module
from opensora.models.checkpoint import POSITION_TABLES, LoadReport, load_checkpoint
from opensora.sampling.settings import SamplingSettings

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TRAINING_CONFIG = "config.py"  # beside the checkpoint, written by training


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Everything that turns a prompt and noise into a video.

    Attributes:
        model: diffusion transformer in evaluation mode.
        vae: encodes and decodes [B, 3, T, H, W].
        text_encoder: encodes clean prompts; its null embedding comes from the model.
        scheduler: gives `sample`.
        device: where the networks are.
        identity: what the result depends on, for the record beside each sample.
    """

    model: nn.Module
    vae: Any
    text_encoder: Any
    scheduler: Any
    device: torch.device
    identity: dict[str, Any]


def load_pipeline(
    config: Mapping[str, Any], settings: SamplingSettings, device: torch.device | str
) -> Pipeline:
    """Build and load all parts named by a sampling config.

    Args:
        config: `checkpoint`, `vae`, `text_encoder`, `scheduler` and optional changes of `model`.
        settings: dtype and the size, which must fit the VAE and the model.
        device: where to put the networks.

    Raises:
        ConfigError: a part is not named, the checkpoint's folder has no config, or the image size
            does not fit.
    """
    for name in ("checkpoint", "vae", "text_encoder", "scheduler"):
        if not config.get(name):
            raise ConfigError(f"the sampling config names no {name}; set it there or as an option.")
    device = torch.device(device)
    dtype = TORCH_DTYPES[settings.dtype]
    checkpoint = Path(config["checkpoint"])
    training = read_training_config(checkpoint, config.get("model") or {})
    architecture = training["model"]
    vae = build_module(_require_folder(config["vae"], "vae"), MODELS).to(device, dtype).eval()
    check_image_size(settings, vae.patch_size, architecture.get("patch_size", (1, 2, 2)))
    model = build_module(architecture, MODELS)
    check_complete(checkpoint, load_checkpoint(model, checkpoint))
    model = model.to(device, dtype).eval()
    text_encoder = build_module(
        _require_folder(config["text_encoder"], "text_encoder"),
        MODELS,
        model_max_length=len(model.y_embedder.y_embedding),
        dtype=dtype,
        device=device,
    )
    check_text_length(text_encoder.model_max_length, len(model.y_embedder.y_embedding))
    text_encoder.y_embedder = model.y_embedder
    scheduler_fields = resolve_scheduler(config["scheduler"], training.get("scheduler"))
    identity = {
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": sha256_file(checkpoint),
        "model": architecture,
        "vae": vae.identity(),
        "text_encoder": text_encoder.identity(),
        "scheduler": scheduler_fields,
    }
    return Pipeline(
        model=model,
        vae=vae,
        text_encoder=text_encoder,
        scheduler=build_module(scheduler_fields, SCHEDULERS),
        device=device,
        identity=identity,
    )


def read_training_config(checkpoint: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The training config beside a checkpoint, with changes of the model's keywords applied.

    A checkpoint without a config is accepted when `changes` is a whole model with its type.

    Raises:
        ConfigError: no such checkpoint, or nothing says what model it holds.
    """
    if not checkpoint.is_file():
        raise ConfigError(f"{checkpoint}: no such checkpoint; pass a .safetensors file.")
    beside = checkpoint.parent / TRAINING_CONFIG
    if beside.is_file():
        training = load_config(beside).to_dict()
    elif "type" in changes:
        training = {}
    else:
        raise ConfigError(
            f"{beside}: no such file, so the model of {checkpoint.name} is unknown; keep the config"
            " that training saved beside the checkpoint, or give the whole model in the config."
        )
    model = {**training.get("model", {}), **changes}
    if "type" not in model:
        raise ConfigError(f"{beside}: model has no type; pass the config that training saved.")
    model.pop("from_pretrained", None)  # the start of training; the checkpoint replaces it
    return {**training, "model": model}


def resolve_scheduler(
    fields: Mapping[str, Any], training: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Scheduler of sampling: what the config sets, over what training used for the same type.

    So a model trained with shifted timesteps is sampled with the same shift.
    """
    if training is None or training.get("type") != fields.get("type"):
        return dict(fields)
    return {**training, **fields}


def check_complete(checkpoint: Path, report: LoadReport) -> None:
    """Refuse weights that leave part of the model at random.

    Raises:
        CheckpointError: names the first part that is missing.
    """
    missing = sorted(set(report.missing) - POSITION_TABLES)
    if missing:
        raise CheckpointError(
            f"{checkpoint}: lacks {len(missing)} weights of the model (first: {missing[0]}); pass"
            " the weights that belong to the config beside them."
        )


def check_text_length(encoder_length: int, model_length: int) -> None:
    """Refuse a text length that the model was not trained with.

    Raises:
        ConfigError: the lengths differ.
    """
    if encoder_length != model_length:
        raise ConfigError(
            f"text_encoder.model_max_length is {encoder_length} but the model was trained with"
            f" {model_length}; drop the field."
        )


def check_image_size(
    settings: SamplingSettings, vae_patch: tuple[int, ...], model_patch: tuple[int, ...]
) -> None:
    """Refuse an image size that does not divide into whole patches.

    Raises:
        ConfigError: names the side, the divisor and the nearest size that fits.
    """
    for name, pixels, axis in (
        ("height", settings.image_size[0], 1),
        ("width", settings.image_size[1], 2),
    ):
        divisor = vae_patch[axis] * model_patch[axis]
        if pixels % divisor:
            nearest = max(divisor, round(pixels / divisor) * divisor)
            raise ConfigError(
                f"image_size {name} {pixels} is not a multiple of {divisor} (VAE stride"
                f" {vae_patch[axis]} x patch {model_patch[axis]}); use {nearest}."
            )


def _require_folder(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields of a part, once its weights are named."""
    if not fields.get("from_pretrained"):
        option = name.replace("_", "-")
        raise ConfigError(f"{name} has no from_pretrained; pass its folder with --{option}.")
    return dict(fields)
