"""Samples of models that read given frames beside the noise: which pictures, and what is told.

Axes: C latent channels, t h w latent size, T frames, H W pixels, P tokens of a picture, D their
channels.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from opensora.config.given_frames import FIRST, FIRST_LAST
from opensora.core.errors import ConfigError, did_you_mean
from opensora.models.open.family import OpenTransformer
from opensora.models.open.pictures import NUM_GIVEN, PictureEncoder, encode_given, given_places
from opensora.sampling.conditioning import MaskRule
from opensora.sampling.prompts import Prompt, SampleRequest
from opensora.sampling.references import first_frame
from opensora.sampling.settings import SamplingSettings
from opensora.schedulers.common import Conditions

if TYPE_CHECKING:
    from opensora.sampling.pipeline import Pipeline

_FIELDS = ("from_pretrained", "cache_dir", "local_files_only")
_STRATEGIES = {FIRST: "0", FIRST_LAST: "0;0,1,0,-1"}  # as a user writes them


def reads_given(model: nn.Module) -> bool:
    """Whether a model reads given frames beside the noise."""
    return isinstance(model, OpenTransformer) and bool(model.given_modes)


def build_pictures(
    fields: Mapping[str, Any] | None, model: nn.Module, device: torch.device
) -> PictureEncoder | None:
    """What embeds given frames, where the model reads that.

    Args:
        fields: `image_encoder` of a sampling config.
        model: that is sampled.
        device: where it goes.

    Raises:
        ConfigError: it is named and not read, or the reverse.
        CheckpointError: it can not be loaded.
    """
    kind = type(model).__name__
    is_read = isinstance(model, OpenTransformer) and model.reads_pictures
    name = (fields or {}).get("from_pretrained")
    if not is_read:
        if name is not None:
            raise ConfigError(
                f"image_encoder {name!r} has no effect: this {kind} reads no embedding of a"
                " picture; leave it out."
            )
        return None
    if name is None:
        raise ConfigError(
            f"this {kind} reads an embedding of its picture and the config names no image_encoder;"
            " give the folder of its pipeline with --image-encoder."
        )
    for field in fields or {}:
        if field not in _FIELDS:
            raise ConfigError(
                f"image_encoder has no field {field!r}{did_you_mean(field, _FIELDS)}; it has"
                f" {', '.join(_FIELDS)}."
            )
    return PictureEncoder(**{**(fields or {}), "device": device})


def check_given(model: nn.Module, prompt: Prompt, settings: SamplingSettings) -> str:
    """Which frames the rules of a prompt give, by name.

    Raises:
        ConfigError: none, or other ones than the model reads; or clips are joined.
    """
    assert isinstance(model, OpenTransformer)  # `reads_given` says so
    kind = type(model).__name__
    wanted = " or ".join(f"{_STRATEGIES[mode]!r} ({mode})" for mode in model.given_modes)
    if settings.loop > 1:
        raise ConfigError(
            f"loop is {settings.loop} and this {kind} makes each clip of its own pictures; set loop"
            " to 1."
        )
    rules = prompt.rules
    asked = tuple(rule._replace(reference=0) for rule in rules)
    modes = {(MaskRule(0),): FIRST, (MaskRule(0), MaskRule(0, start=-1)): FIRST_LAST}
    mode = modes.get(asked)
    if mode not in model.given_modes:
        raise ConfigError(
            f"prompt {prompt.text!r}: this {kind} makes videos of given frames, and its"
            f" mask_strategy is {prompt.mask_strategy!r}; give reference_path and the"
            f" mask_strategy {wanted}."
        )
    return mode


def given_conditions(
    pipeline: "Pipeline", batch: Sequence[SampleRequest], settings: SamplingSettings
) -> Conditions:
    """What the model is told of the given frames of each sample.

    Each prompt is encoded alone, so that neighbours change nothing, and once.

    Args:
        pipeline: loaded parts; its model reads given frames.
        batch: with references whose files can be read.
        settings: size of the samples.

    Returns:
        `given` [B, C, t, h, w], `num_given` [B], and maybe `picture` [B, n, P, D]; float32.

    Raises:
        ConfigError: a picture can not be read any more.
    """
    made: dict[Prompt, dict[str, Tensor]] = {}
    for prompt in dict.fromkeys(request.prompt for request in batch):
        mode = check_given(pipeline.model, prompt, settings)
        weights = next(pipeline.vae.parameters())
        video = _shown(prompt, mode, settings).to(weights.device, weights.dtype)
        told = encode_given(pipeline.vae, pipeline.pictures, video, mode)
        number = torch.tensor([float(len(prompt.rules))])
        made[prompt] = {**told, NUM_GIVEN: number}
    rows = [made[request.prompt] for request in batch]
    names = rows[0]
    return cast(
        Conditions, {name: torch.cat([row[name] for row in rows]).float() for name in names}
    )


def _shown(prompt: Prompt, mode: str, settings: SamplingSettings) -> Tensor:
    """A video [1, 3, T, H, W] that is grey but for the given frames of a prompt."""
    size = settings.image_size
    video = torch.zeros(1, 3, settings.num_frames, *size)
    places = given_places(mode, settings.num_frames)
    for place, rule in zip(places, prompt.rules, strict=True):
        video[0, :, place] = first_frame(prompt.references[rule.reference], size)
    return video
