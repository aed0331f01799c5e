"""Registered model names: a class, the sizes a name fixes, and weights to start from."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from opensora.config.latent_grid import network_of
from opensora.config.registry import MODELS, build_module, registered_names
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import read_json_object
from opensora.models.device import parse_dtype
from opensora.models.vae.base import VideoAutoencoder
from opensora.models.weights.checkpoint import load_checkpoint
from opensora.models.weights.folders import resolve_folder
from opensora.models.weights.pretrained import resolve_weights

_names: set[str] = set()  # what `register_model` registered


def register_model(name: str, model_class: type[nn.Module], **size: Any) -> None:
    """Register a factory for a model class.

    The factory takes the keywords of the class, those in `size` with a new default, and
    `from_pretrained`: weights to load after building (file, folder, official file name, hub name,
    or None).

    Args:
        name: the `type` in configs.
        model_class: class to build.
        **size: keywords that the name fixes unless the config sets them.
    """

    def build(from_pretrained: str | None = None, **keywords: Any) -> nn.Module:
        # looked for first: building a large model takes a while
        weights = None if from_pretrained is None else resolve_weights(from_pretrained)
        model = model_class(**{**size, **keywords})
        if weights is not None:
            load_checkpoint(model, weights)
        return model

    own = list(inspect.signature(model_class).parameters.values())
    source = inspect.Parameter("from_pretrained", inspect.Parameter.KEYWORD_ONLY, default=None)
    build.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + [source]
    )
    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Build {name}; keywords of {model_class.__name__} and from_pretrained."
    MODELS.register_module(name=name, module=build)
    _names.add(name)


def build_empty(name: str, fields: Mapping[str, Any]) -> nn.Module:
    """A registered transformer on the meta device: names and shapes without weights.

    Args:
        name: the `type` in configs.
        fields: keywords of the constructor.

    Raises:
        ConfigError: an unknown name or field, or a value that the constructor refuses.
    """
    if name in registered_names(MODELS) and name not in _names:
        raise ConfigError(f"{name} is no transformer; expected one of {', '.join(sorted(_names))}")
    try:
        with torch.device("meta"):
            return build_module({"type": name, **fields}, MODELS)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error


def takes_frame_mask(model: nn.Module) -> bool:
    """Whether frames can be given: `keeps_frames` says so, else that forward names `x_mask`."""
    names = inspect.signature(model.forward).parameters
    return bool(getattr(model, "keeps_frames", "x_mask" in names))


def use_grad_checkpoint(model: nn.Module) -> None:
    """Let a model recompute its blocks in the backward pass.

    Raises:
        ConfigError: it can not.
    """
    switch = getattr(model, "set_grad_checkpoint", None)
    if switch is None:
        raise ConfigError(
            f"grad_checkpoint: {type(model).__name__} has no set_grad_checkpoint; leave the field"
            " out"
        )
    switch()


def load_autoencoder(name: str, device: str, dtype: torch.dtype, **fields: Any) -> Any:
    """Load the autoencoder that a folder's `config.json` names as its `_class_name`.

    Args:
        name: folder in the diffusers format, of an autoencoder or a pipeline, or a hub name.
        device: where it goes.
        dtype: type of its weights there.
        **fields: further keywords of its class.

    Raises:
        CheckpointError: not there, or of a kind that is not known.
    """
    return build_autoencoder({**fields, "from_pretrained": name}).to(device, dtype)


def build_autoencoder(fields: Mapping[str, Any]) -> Any:
    """The one door to autoencoders: what a folder holds is built, whatever a config calls it.

    Args:
        fields: `from_pretrained`, and keywords of its class; a `type` must be what is there.

    Raises:
        CheckpointError: not there, or of a kind that is not known.
        ConfigError: `type` names another class, or a keyword is unknown.
    """
    if "type" in fields and fields["type"] not in _autoencoders().values():
        return build_module(fields, MODELS)  # registered by somebody else
    options = {n: fields[n] for n in ("cache_dir", "local_files_only") if n in fields}
    name = fields["from_pretrained"]
    folder = resolve_folder(name, kind="autoencoder", part="vae", **options)
    file, kinds = folder / "config.json", _autoencoders()
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; give the folder of an autoencoder of diffusers")
    network = network_of(read_json_object(file))
    if network not in kinds:
        raise CheckpointError(
            f"{file}: _class_name is {network!r}; expected one of {', '.join(sorted(kinds))}"
        )
    if fields.get("type", kinds[network]) != kinds[network]:
        raise ConfigError(
            f"vae.type is {fields['type']!r} and {folder} holds a {kinds[network]!r}; leave the"
            " type out"
        )
    return build_module({**fields, "type": kinds[network], "from_pretrained": str(folder)}, MODELS)


def build_text_encoder(
    fields: Mapping[str, Any],
    device: str | torch.device,
    dtype: str | torch.dtype,
    **defaults: Any,
) -> Any:
    """The one door to text encoders: whoever encodes, trains or samples reads with the same.

    Args:
        fields: type and keywords; what is None is left to the type.
        device: where it runs.
        dtype: of the weights; float32 in place of float16, whose range T5 leaves.
        **defaults: keywords where `fields` is silent; those that the type does not take are left
            out.

    Raises:
        ConfigError: an unknown type or keyword, or a value that can not be used.
        CheckpointError: the folder can not be loaded.
    """
    plain = parse_dtype(dtype)
    defaults |= {"device": device, "dtype": torch.float32 if plain == torch.float16 else plain}
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return build_module(given, MODELS, **defaults)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"text_encoder: a field has a value that can not be used: {error}."
        ) from error


def _autoencoders() -> dict[str, str]:
    """Class in diffusers -> registered name."""
    classes = {kind: MODELS.get(kind) for kind in registered_names(MODELS)}
    return {
        found.network: kind
        for kind, found in classes.items()
        if isinstance(found, type) and issubclass(found, VideoAutoencoder)
    }
