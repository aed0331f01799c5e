"""Load what sampling needs: the trained model, the VAE, the text encoder, the scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from opensora.buckets.bucket_config import IMAGE_FPS
from opensora.config.registry import MODELS, PARTS, build_module
from opensora.core.errors import ConfigError
from opensora.core.io import sha256_file
from opensora.models import build
from opensora.models.build import build_autoencoder
from opensora.models.device import parse_dtype
from opensora.models.layers.packed import pack_blocks
from opensora.models.layers.single_frame import join_single_frames
from opensora.models.lora.merge import apply_adapters
from opensora.models.open.bands import both
from opensora.models.open.pictures import PictureEncoder
from opensora.models.text_encoder import ClassEncoder
from opensora.models.weights.checkpoint import load_checkpoint
from opensora.sampling.checkpoint import TrainedModel, find_trained_model
from opensora.sampling.checks import (
    check_agreement,
    check_complete,
    check_conditions,
    check_image_size,
    check_multi_resolution,
    check_second_scale,
    check_shared_frames,
    check_variance,
    warn_unseen_size,
)
from opensora.sampling.compiled import compile_blocks
from opensora.sampling.decode import prepare_decoding
from opensora.sampling.pictures import build_pictures
from opensora.sampling.settings import SamplingSettings
from opensora.sampling.texts import PromptTexts
from opensora.text.clean import clean_caption

_CLASSES = "classes"
_LABEL_PREFIX = "label_"  # of model.condition


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Everything that turns a prompt and noise into a video.

    Attributes:
        model: diffusion transformer in evaluation mode.
        vae: encodes and decodes [B, 3, T, H, W].
        text_encoder: encodes clean prompts; its null embedding comes from the model.
        texts: encodes each prompt once; what the scheduler is given.
        scheduler: gives `sample`.
        device: where the networks are.
        identity: what the result depends on, for the record beside each sample.
        trained_here: the training config of this project stands beside the checkpoint.
        pictures: embeds given frames, where the model reads that.
    """

    model: nn.Module
    vae: Any
    text_encoder: Any
    texts: PromptTexts
    scheduler: Any
    device: torch.device
    identity: dict[str, Any]
    trained_here: bool
    pictures: PictureEncoder | None = None

    def clean(self, text: str) -> str:
        """A prompt as the text encoder wants it: cleaned as captions are; a class as it is."""
        return text.strip() if isinstance(self.text_encoder, ClassEncoder) else clean_caption(text)

    def condition_fps(self, settings: SamplingSettings) -> float:
        """Frames per second as the model got them in training.

        Training of this project tells the rate of the frames in use, fps / frame_interval;
        Open-Sora 1.1 gave the rate of the source, fps. Images have a number of their own.
        """
        if settings.num_frames == 1:
            return IMAGE_FPS
        return settings.file_fps if self.trained_here else settings.fps


def load_pipeline(
    config: Mapping[str, Any], settings: SamplingSettings, device: torch.device | str
) -> Pipeline:
    """Build and load all parts named by a sampling config.

    Args:
        config: `model`, `vae`, `text_encoder`, `scheduler`, maybe `lora` and `image_encoder`.
        settings: dtype and the size, which must fit the VAE and the model.
        device: where to put the networks.

    Raises:
        ConfigError: a part is not named, or parts and sizes do not fit each other.
        CheckpointError: weights are missing or belong to another model.
    """
    _require_parts(config)
    device = torch.device(device)
    dtype = choose_dtype(settings.dtype, device)
    source = find_trained_model(config.get("model"))
    warn_unseen_size(source.training, settings)
    vae = _build("vae", _require_weights(config["vae"], "vae")).to(device, dtype).eval()
    check_shared_frames(settings, vae)
    prepare_decoding(vae, settings, device)
    texts, told = config["text_encoder"], {**source.trained_texts(), **source.model}
    text_encoder = build_text_encoder(texts, told, dtype, device)
    model = load_model(source, settings, vae, text_encoder)
    check_second_scale(model, config["scheduler"])
    adapters = _apply(config.get("lora"), model)
    if source.other is not None:
        second = load_model(source.other, settings, vae, text_encoder)
        model = both(model, second)  # type: ignore[arg-type]  # both open models
        adapters["other_sha256"] = source.other.sha256()
    model.to(device, dtype).eval()
    join_single_frames(model, vae.get_latent_size((settings.num_frames, *settings.image_size)))
    if not compile_blocks(model, settings, device):
        pack_blocks(model, device, dtype)
    pictures = build_pictures(config.get("image_encoder"), model, device)
    text_encoder.y_embedder = model.y_embedder
    fields = resolve_scheduler(config["scheduler"], source.training.get("scheduler"))
    scheduler = _build("scheduler", fields)
    check_variance(model, scheduler)
    return Pipeline(
        model=model,
        vae=vae,
        text_encoder=text_encoder,
        texts=PromptTexts(text_encoder),
        scheduler=scheduler,
        device=device,
        identity={
            "checkpoint": str(source.path),
            "checkpoint_sha256": source.sha256(),
            **adapters,
            "model": told | {k: v for k, v in texts.items() if k == "model_max_length"},
            "vae": vae.identity(),
            "text_encoder": text_encoder.identity(),
            **({"image_encoder": pictures.identity()} if pictures else {}),
            "scheduler": fields,
        },
        trained_here=bool(source.training),
        pictures=pictures,
    )


def _require_parts(config: Mapping[str, Any]) -> None:
    for name in ("vae", "text_encoder", "scheduler"):
        if not config.get(name):
            raise ConfigError(f"the sampling config names no {name}; set it there or as an option.")


def _apply(lora: str | None, model: nn.Module) -> dict[str, str]:
    """Put adapters into the weights, where a file of them is named; returns what identifies it.

    Raises:
        CheckpointError: they belong to another model or to other weights.
    """
    if lora is None:
        return {}
    apply_adapters(model, lora)
    return {"lora_sha256": sha256_file(lora)}


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The torch type of a `dtype` field.

    Raises:
        ConfigError: half precision on a CPU, whose kernels are slow and not complete.
    """
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("dtype 'fp16' needs a GPU; use 'bf16' or 'fp32' on a CPU.")
    return parse_dtype(name)


def build_text_encoder(
    fields: Mapping[str, Any],
    model: Mapping[str, Any],
    dtype: torch.dtype,
    device: torch.device,
) -> Any:
    """Build the text encoder, as long as the model's texts, or with as many classes.

    Args:
        fields: type and keywords.
        model: type and keywords of the model, with the length of its texts.
        dtype: of the weights; float32 in place of float16, whose range T5 leaves.
        device: where the encoder runs.

    Raises:
        ConfigError: no weights are named.
    """
    defaults: dict[str, Any] = {}
    if fields.get("type") == _CLASSES:
        number = str(model.get("condition", "")).removeprefix(_LABEL_PREFIX)
        if number.isdecimal():
            defaults["num_classes"] = int(number)
        elif "num_classes" not in fields:
            raise ConfigError("text_encoder 'classes' has no num_classes; set it.")
        return build.build_text_encoder(fields, device, dtype, **defaults)
    # the model's length is that of embeddings, and a pooled one says nothing of its text
    if model.get("model_max_length") and not _is_pooled(MODELS.get(str(fields.get("type")))):
        defaults["model_max_length"] = model["model_max_length"]
    named = _require_weights(fields, "text_encoder")
    return build.build_text_encoder(named, device, dtype, **defaults)


def _is_pooled(text_encoder: Any) -> bool:
    """Whether an encoder, or its class, has one embedding for a text of any length."""
    return getattr(text_encoder, "num_tokens", None) is not None


def load_model(
    source: TrainedModel, settings: SamplingSettings, vae: Any, text_encoder: Any
) -> nn.Module:
    """Build the model for the latents of the VAE and the texts of the encoder; load its weights.

    Raises:
        ConfigError: a field of the model can not work, or does not fit the other parts.
        CheckpointError: the weights belong to another model, or are not complete.
    """
    length = None if _is_pooled(text_encoder) else getattr(text_encoder, "model_max_length", None)
    sizes = {
        "in_channels": vae.out_channels,
        "caption_channels": getattr(text_encoder, "output_dim", None),
        "model_max_length": length,
    }
    check_agreement(source.model, sizes)
    known = {name: size for name, size in sizes.items() if size is not None}
    latent_size = vae.get_latent_size((settings.num_frames, *settings.image_size))
    known["input_size"] = tuple(max(side, 1) for side in latent_size)  # too small: an error below
    model: nn.Module = _build("model", source.model, **known)
    check_image_size(settings, vae.patch_size, model)
    check_multi_resolution(settings, model)
    check_conditions(model, text_encoder)
    check_complete(source.path, load_checkpoint(model, source.path))
    return model


def resolve_scheduler(
    fields: Mapping[str, Any], training: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Scheduler of sampling: what the config sets, over what training used for the same type.

    So a model trained with shifted timesteps is sampled with the same shift.
    """
    if training is None or training.get("type") != fields.get("type"):
        return dict(fields)
    return {**training, **fields}


def _require_weights(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields of a part, once its weights are named."""
    if not fields.get("from_pretrained"):
        option = name.replace("_", "-")
        raise ConfigError(f"{name} has no from_pretrained; pass its folder with --{option}.")
    return dict(fields)


def _build(part: str, fields: Mapping[str, Any], **defaults: Any) -> Any:
    """Build a part of the config; a value that its constructor refuses is the user's to mend."""
    try:
        if part == "vae":
            return build_autoencoder(fields)
        return build_module(fields, PARTS[part], **defaults)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{part}: a field has a value that can not be used: {error}.") from error
