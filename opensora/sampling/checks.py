"""What has to fit before sampling starts: sizes, lengths, conditions, parts made for each other."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from opensora.buckets.aspect import RESOLUTIONS, get_resolution
from opensora.buckets.bucket_config import parse_bucket_config
from opensora.config.load import load_config
from opensora.config.registry import SCHEDULERS, build_module
from opensora.core.errors import CheckpointError, ConfigError
from opensora.models.build import takes_frame_mask
from opensora.models.layers.embeddings import CaptionEmbedder, LabelEmbedder
from opensora.models.open.family import OpenTransformer
from opensora.models.text_encoder import ClassEncoder
from opensora.models.weights.checkpoint import LoadReport
from opensora.sampling.references import whole_frames
from opensora.sampling.settings import FIELDS, SamplingSettings

log = logging.getLogger(__name__)


def check_complete(checkpoint: Path, report: LoadReport) -> None:
    """Refuse weights that leave part of the model at random, or of which part is not used.

    What wrappers, averages and counters add was taken away when the file was read.

    Raises:
        CheckpointError: names the first part that is missing or left over.
    """
    if report.missing:
        raise CheckpointError(
            f"{checkpoint}: lacks {len(report.missing)} weights of the model (first:"
            f" {report.missing[0]}); pass the weights that belong to this model's fields."
        )
    if report.unexpected:
        raise CheckpointError(
            f"{checkpoint}: {len(report.unexpected)} of its weights have no place in the model"
            f" (first: {report.unexpected[0]}), which is part of what was trained; give the model"
            " the type and the fields that these weights were made with."
        )


def check_agreement(fields: Mapping[str, Any], sizes: Mapping[str, Any]) -> None:
    """Refuse a model that is made for other latents or texts than the VAE and the encoder give.

    Args:
        fields: type and keywords of the model.
        sizes: keyword -> what the other parts give; None where they say nothing.

    Raises:
        ConfigError: names the keyword and both values.
    """
    causes = {
        "in_channels": "the VAE has {} latent channels; pass the VAE that it was trained with",
        "caption_channels": "the text encoder gives {}; pass the text encoder that it was trained"
        " with",
        "model_max_length": "text_encoder.model_max_length is {}; drop that field",
    }
    for name, cause in causes.items():
        asked, given = fields.get(name), sizes.get(name)
        if asked is not None and given is not None and asked != given:
            raise ConfigError(f"the model has {name} {asked} but {cause.format(given)}.")


def check_conditions(model: nn.Module, text_encoder: Any) -> None:
    """Refuse classes for a model of texts and texts for a model of classes.

    Raises:
        ConfigError: names both parts, or both numbers of classes; or the model has no embedder,
            which holds what stands for "no prompt".
    """
    embedder, kind = getattr(model, "y_embedder", None), type(model).__name__
    if isinstance(model, OpenTransformer):
        model.check_text_encoder(text_encoder.identity()["type"])
        return
    if not isinstance(embedder, CaptionEmbedder | LabelEmbedder):
        raise ConfigError(
            f"{kind} has no y_embedder (CaptionEmbedder or LabelEmbedder), which holds the empty"
            " prompt of guidance; give it one."
        )
    if isinstance(embedder, LabelEmbedder) != isinstance(text_encoder, ClassEncoder):
        wanted = "'classes'" if isinstance(embedder, LabelEmbedder) else "'t5' or 'clip'"
        raise ConfigError(
            f"this {kind} is not conditioned by text_encoder.type"
            f" {text_encoder.identity()['type']!r}; use {wanted}, or another model.condition."
        )
    if isinstance(embedder, LabelEmbedder) and embedder.num_classes != text_encoder.num_classes:
        raise ConfigError(
            f"text_encoder.num_classes is {text_encoder.num_classes} but the model knows"
            f" {embedder.num_classes} classes; drop the field."
        )


def check_variance(model: nn.Module, scheduler: Any) -> None:
    """Refuse a scheduler that takes more or fewer channels than the model predicts.

    Raises:
        ConfigError: says how to set `learn_sigma`.
    """
    wanted = getattr(scheduler, "learn_sigma", None)
    sizes = getattr(model, "in_channels", None), getattr(model, "out_channels", None)
    if wanted is None or None in sizes:
        return
    given = sizes[0] != sizes[1]
    if wanted != given:
        raise ConfigError(
            f"scheduler.learn_sigma is {wanted} but the model predicts"
            f" {'a' if given else 'no'} variance; set scheduler.learn_sigma to {given}."
        )


def check_second_scale(model: nn.Module, scheduler: Mapping[str, Any]) -> None:
    """Refuse a second guidance scale for a model of one transformer.

    Raises:
        ConfigError: it has no effect.
    """
    if scheduler.get("cfg_scale_2") is not None and getattr(model, "boundary", None) is None:
        raise ConfigError(
            f"scheduler.cfg_scale_2 is {scheduler['cfg_scale_2']} and the model is no one of two"
            " transformers, so it has no effect; leave it out."
        )


def check_image_size(
    settings: SamplingSettings, vae_patch: tuple[int, ...], model: nn.Module
) -> None:
    """Refuse an image size that does not divide into whole patches.

    Bucket sizes (`buckets/aspect.py`) are fine for models that take their size: such a model
    was trained on them, with what is left over of a patch padded.

    Raises:
        ConfigError: names the side, the divisor and the nearest size that fits.
    """
    if getattr(model, "multi_resolution", None) and any(
        settings.image_size in table.sizes.values() for table in RESOLUTIONS.values()
    ):
        return
    model_patch: tuple[int, int, int] = getattr(model, "patch_size", (1, 1, 1))
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


def check_multi_resolution(settings: SamplingSettings, model: nn.Module) -> None:
    """Refuse a `multi_resolution` that names another family than the model's.

    Raises:
        ConfigError: names the value that fits.
    """
    family = getattr(model, "multi_resolution", None)
    if settings.multi_resolution not in (None, family):
        use = f"use {family!r}" if family else "drop it: this model does not take its size"
        raise ConfigError(
            f"multi_resolution is {settings.multi_resolution!r} but the model is a"
            f" {type(model).__name__}; {use}."
        )


def check_keeps_frames(model: nn.Module, scheduler: Any, scheduler_type: str) -> None:
    """Refuse to keep frames where the model or the scheduler can not.

    Args:
        model: that is sampled.
        scheduler: its attribute `keeps_frames` says so; without it, it is asked to.
        scheduler_type: what the config calls it.

    Raises:
        ConfigError: names the part.
    """
    what = "mask_strategy and condition_frame_length keep frames"
    if not takes_frame_mask(model):
        raise ConfigError(
            f"{what}, which {type(model).__name__} can not; use a model that takes x_mask, such as"
            " STDiT2."
        )
    if not getattr(scheduler, "keeps_frames", True):
        raise ConfigError(
            f"{what}, which scheduler {scheduler_type!r} can not; use 'iddpm' or 'rflow'."
        )


def check_shared_frames(settings: SamplingSettings, vae: Any) -> None:
    """Refuse a number of shared frames that the VAE does not take as a video.

    Raises:
        ConfigError: names the next smaller number that it takes.
    """
    length = settings.condition_frame_length
    fits = whole_frames(vae, length) if length else 0
    if fits != length:
        raise ConfigError(
            f"condition_frame_length is {length}, which {type(vae).__name__} does not take as a"
            f" video; use {fits}."
        )


def warn_unseen_size(training: Mapping[str, Any], settings: SamplingSettings) -> None:
    """Log one line where training never saw samples of this size.

    Args:
        training: the config beside the checkpoint; without a bucket_config nothing is known.
        settings: what is asked for.
    """
    if not training.get("bucket_config"):
        return
    buckets = parse_bucket_config(training["bucket_config"], ranges=True)
    rules = [rule for rule in buckets if rule.is_used]
    if any(
        rule.num_frames == settings.num_frames
        and settings.image_size in get_resolution(rule.resolution).sizes.values()
        for rule in rules
    ):
        return
    height, width = settings.image_size
    log.warning(
        "size num_frames=%d image_size=%dx%d was never seen in training, which had %s",
        *(settings.num_frames, height, width),
        ", ".join(f"{rule.resolution}:{rule.num_frames}" for rule in rules),
    )


def check_config(
    path: str | Path,
    *,
    trained: Mapping[str, Any],
    stride: tuple[int, int, int],
) -> None:
    """Read a sampling config as `sample` will, before there is a model to sample from.

    Args:
        path: of the config.
        trained: the scheduler of the model's training, which the config's completes.
        stride: frames, rows and columns of pixels of one latent value.

    Raises:
        ConfigError: what sampling would refuse, once hours of training are done.
    """
    config = load_config(path, known=FIELDS, kind="inference").to_dict()
    try:
        settings = SamplingSettings.from_config({"save_dir": "samples", **config})
        for name in ("vae", "text_encoder", "scheduler"):
            if not config.get(name):
                raise ConfigError(f"it names no {name}; set it there")
        scheduler = config["scheduler"]
        if scheduler.get("type", trained.get("type")) == trained.get("type"):
            scheduler = {**trained, **scheduler}
        build_module(scheduler, SCHEDULERS)
        scale = scheduler.get("cfg_scale")
        if isinstance(scale, str):
            raise ConfigError(f"scheduler.cfg_scale is {scale!r}; expected a number")
        is_bucket = any(settings.image_size in t.sizes.values() for t in RESOLUTIONS.values())
        if not is_bucket and any(
            side % step for side, step in zip(settings.image_size, stride[1:], strict=True)
        ):
            raise ConfigError(
                f"image_size is {settings.image_size}; expected multiples of {stride[1:]}, the"
                " pixels of one latent value"
            )
        if (lora := config.get("lora")) and not Path(lora).exists():
            raise ConfigError(f"lora: {lora!r} does not exist")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: a field has a value that can not be used: {error}") from error
