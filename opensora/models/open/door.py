"""The door to open models: a folder of diffusers becomes a transformer of a known family."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opensora.config.latent_grid import find_config
from opensora.config.registry import MODELS
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import read_json
from opensora.models.open.bands import PART, check_part, limit, read_boundary
from opensora.models.open.family import FAMILIES, OpenTransformer
from opensora.models.weights.folders import part_folder, resolve_folder
from opensora.models.weights.pretrained import load_network, load_parts

OPEN = "diffusers"  # the type of all of them
_CLASS = "_class_name"


@MODELS.register_module(OPEN)
def build_open(
    from_pretrained: str | None = None,
    architecture: dict[str, Any] | None = None,
    part: str | None = None,
    boundary: float | None = None,
    other: str | None = None,
    in_channels: int | None = None,
    caption_channels: int | None = None,
    cache_dir: str | None = None,
    local_files_only: bool = False,
) -> nn.Module:
    """Build the transformer that a folder of diffusers holds, with its weights.

    Args:
        from_pretrained: folder of a pipeline or of its transformer, or a hub name.
        architecture: fields of its `config.json` instead, for a model whose weights come from
            elsewhere; training writes them beside its results.
        part: which of two transformers, "transformer" or "transformer_2"; None = the only one.
        boundary: where the noise of two meets, as a share of all timesteps; a pipeline says it.
        other: the other one of two, which sampling needs and training does not.
        in_channels: of the latents; only checked.
        caption_channels: of the text embeddings; only checked.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: nothing there, another network, or weights are missing.
        ConfigError: neither or both of the first two, a family that is not known, encoders that
            do not fit it, or one of two transformers that is not named.
    """
    if other is not None:
        raise ConfigError("model.other is what sampling takes beside it; leave it out of training")
    if (from_pretrained is None) == (architecture is None):
        raise ConfigError(
            "model diffusers: give from_pretrained, the folder or hub name of a pipeline of"
            " diffusers or of its transformer"
        )
    if from_pretrained is not None:
        options: Any = {"cache_dir": cache_dir, "local_files_only": local_files_only}
        check_part(part or PART)
        folder = resolve_folder(from_pretrained, kind="model", part=part or PART, **options)
        fields = read_architecture(folder)
        boundary = boundary if boundary is not None else read_boundary(folder)
        model = _as_family(_load(folder, fields), fields)
    else:
        assert architecture is not None
        model = _as_family(_empty(architecture), architecture)
    limit(model, part, boundary)
    _check_sizes(model, in_channels, caption_channels)
    return model


def read_architecture(folder: Path) -> dict[str, Any]:
    """The fields of a transformer's `config.json`.

    Raises:
        CheckpointError: there is none.
    """
    file = folder / "config.json"
    fields = read_json(file) if file.is_file() else None
    if not isinstance(fields, dict) or _CLASS not in fields:
        raise CheckpointError(
            f"model: {file} names no {_CLASS}; give the folder of a pipeline of diffusers or of its"
            f" {PART}"
        )
    return fields


def named_architecture(
    from_pretrained: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    part: str | None = None,
    cache_dir: str | None = None,
    local_files_only: bool = False,
    **_: Any,
) -> Mapping[str, Any]:
    """The fields of the transformer that a config names; its weights are not touched.

    Args:
        from_pretrained: as of `build_open`.
        architecture: likewise.
        part: likewise.
        cache_dir: likewise.
        local_files_only: likewise.
        **_: other fields of the config.

    Raises:
        CheckpointError: there are none.
    """
    if architecture is not None:
        return architecture
    return read_architecture(
        resolve_folder(
            str(from_pretrained),
            kind="model",
            part=part or PART,
            weights=False,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
    )


def known_model(
    from_pretrained: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    part: str | None = None,
    boundary: float | None = None,
    **_: Any,
) -> OpenTransformer | None:
    """The transformer that a config names, without weights and as far as this disk tells it.

    Args:
        from_pretrained: as of `build_open`.
        architecture: likewise.
        part: likewise.
        boundary: likewise.
        **_: other fields of the config.

    Returns:
        None for a hub name that was never downloaded, and for no name.

    Raises:
        CheckpointError: the folder has no such part, or is of no transformer.
        ConfigError: as of `build_open`.
    """
    check_part(part or PART)
    if architecture is None:
        file = find_config(from_pretrained, part or PART) if from_pretrained else None
        if from_pretrained is None or file is None:
            return None
        part_folder(Path(from_pretrained), part or PART, kind="model")
        architecture = read_architecture(file.parent)
        boundary = boundary if boundary is not None else read_boundary(file.parent)
    with torch.device("meta"):
        model = _as_family(_empty(architecture), architecture)
    limit(model, part, boundary)
    return model


def describe(model: nn.Module) -> dict[str, Any]:
    """The fields that rebuild an open model without its folder; none for other models."""
    if not isinstance(model, OpenTransformer):
        return {}
    own = {name: value for name, value in model.config.items() if not name.startswith("_")}
    name = next(base.__name__ for base in type(model).__mro__ if base.__name__ in FAMILIES)
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in own.items()}
    band = {} if model.boundary is None else {"part": model.part, "boundary": model.boundary}
    return {"architecture": {_CLASS: name, **plain}, **band}


def _network(fields: Mapping[str, Any]) -> Any:
    name = fields.get(_CLASS)
    if name not in FAMILIES:
        raise ConfigError(
            f"model diffusers: {name!r} is of no family known here; expected one of"
            f" {', '.join(sorted(FAMILIES))}"
        )
    import diffusers  # takes seconds

    return getattr(diffusers, str(name))


def _load(folder: Path, fields: Mapping[str, Any]) -> Any:
    network = _network(fields)
    loaded = load_network(network.from_pretrained, folder, kind="model", use_safetensors=True)
    return loaded.train().requires_grad_(True)


def _empty(fields: Mapping[str, Any]) -> Any:
    network = _network(fields)
    own = {name: value for name, value in fields.items() if name != _CLASS}
    return load_parts(lambda: network(**own), Path("architecture"), kind="model diffusers")


def _as_family(network: Any, fields: Mapping[str, Any]) -> OpenTransformer:
    """The network itself, called as models are here."""
    kind = type(network)
    family = FAMILIES[str(fields[_CLASS])]
    network.__class__ = type(kind.__name__, (family, kind), {"__module__": family.__module__})
    network.settle()
    return network  # type: ignore[no-any-return]


def _check_sizes(
    model: OpenTransformer, in_channels: int | None, caption_channels: int | None
) -> None:
    kind = type(model).__name__
    if in_channels not in (None, model.in_channels):
        raise ConfigError(
            f"model: {kind} takes {model.in_channels} latent channels and the autoencoder gives"
            f" {in_channels}; encode with the autoencoder of its own pipeline"
        )
    if caption_channels not in (None, model.caption_channels):
        raise ConfigError(
            f"model: {kind} takes texts of {model.caption_channels} channels and the text encoder"
            f" gives {caption_channels}; encode captions with the one of its own pipeline"
        )
