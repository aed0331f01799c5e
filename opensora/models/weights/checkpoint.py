"""Weights of models: loaded from any of the usual formats, written as safetensors."""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from opensora.core.errors import CheckpointError
from opensora.core.io import atomic_path
from opensora.models.weights.files import find_weights, read_weights
from opensora.models.weights.folders import files_sha256
from opensora.models.weights.layouts import (
    POSITION_TABLES,
    NamedWeights,
    names_for,
    normalise,
    starts_of,
)
from opensora.models.weights.written import check_written

log = logging.getLogger(__name__)

NULL_CAPTION = "y_embedder.y_embedding"
_TABLE_TOLERANCE = 1e-2  # of a position table that was stored in bfloat16
_NAMES_SHOWN = 3
_ROUNDED = {torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64}
# as ComfyUI, optimum-quanto, bitsandbytes and torchao name what quantised weights are multiplied by
_SCALES = (".scale_weight", ".weight_scale", ".weight._scale", ".weight.absmax", ".SCB")


@dataclass(frozen=True)
class LoadReport:
    """What became of the names in a checkpoint and in the model.

    Attributes:
        loaded: names copied as they are.
        remade: names whose size differs and that were adapted, and position tables that the file
            lacks or has otherwise, where the model keeps its own.
        missing: names of the model that the file lacks; they keep their initial values.
        unexpected: names of the file that the model lacks; not used.
    """

    loaded: tuple[str, ...]
    remade: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the log."""
        parts = [f"loaded={len(self.loaded)}"]
        for field in ("remade", "missing", "unexpected"):
            names = getattr(self, field)
            more = ", ..." if len(names) > _NAMES_SHOWN else ""
            listed = f" ({', '.join(names[:_NAMES_SHOWN])}{more})" if names else ""
            parts.append(f"{field}={len(names)}{listed}")
        return " ".join(parts)


def load_checkpoint(model: nn.Module, path: str | Path) -> LoadReport:
    """Copy weights into a model and log one line.

    Weights of an image model start a video model: two-dimensional patch weights fit
    three-dimensional patches of one frame, and the branches along time keep their initial zero,
    so that PixArt's weights make an STDiT that treats every frame as PixArt does. Position tables
    are the model's own; a null caption of another length is cut or continued with its last row.
    Parts that the file has nothing of keep their initial values; a part of which it has some is
    an error.

    Args:
        model: receives the weights in place.
        path: file (.safetensors, .pt, .pth, .bin, .ckpt) or folder of one or several such files.

    Raises:
        CheckpointError: nothing there, unreadable, changed since training here wrote it, weights
            of another model, or half of them.
    """
    check_written(find_weights(path))
    weights = normalise(read_weights(path))
    fitting, report = match_weights(model, weights, path)
    _check_whole(report, fitting, path)
    model.load_state_dict(fitting, strict=False)
    log.info("checkpoint path=%s layout=%r %s", path, weights.layout, report)
    return report


def match_weights(
    model: nn.Module, weights: NamedWeights, source: str | Path
) -> tuple[dict[str, Tensor], LoadReport]:
    """What of some weights fits a model, in the shapes of the model.

    Args:
        model: may stand on the meta device.
        weights: from `normalise`.
        source: where they come from, for messages.

    Raises:
        CheckpointError: weights of another model or size.
    """
    if not weights.tensors:
        raise CheckpointError(f"{source}: holds no weights at all; copy or make the file again")
    _check_family(model, weights, source)
    _check_numbers(weights, source)
    own, tensors = model.state_dict(), names_for(type(model).__name__, weights)
    tables = {
        name: name in tensors and _equal_tables(tensors[name], own[name])
        for name in own.keys() & POSITION_TABLES
    }
    fitting: dict[str, Tensor] = {}
    remade = {name for name, is_equal in tables.items() if not is_equal}
    for name in tensors.keys() & own.keys() - POSITION_TABLES:
        value, shape = tensors[name], own[name].shape
        if value.shape != shape:
            value = _adapted(name, value, shape, source)
            remade.add(name)
        fitting[name] = value
    unexpected = sorted(tensors.keys() - own.keys() - POSITION_TABLES)
    if len(fitting) <= len(unexpected):
        raise CheckpointError(
            f"{source}: only {len(fitting)} of {len(tensors)} names belong to"
            f" {type(model).__name__} (first stranger: {(unexpected or ['none'])[0]});"
            " give the weights of this model"
        )
    return fitting, LoadReport(
        loaded=tuple(sorted((fitting.keys() | tables.keys()) - remade)),
        remade=tuple(sorted(remade)),
        missing=tuple(sorted(own.keys() - fitting.keys() - tables.keys())),
        unexpected=tuple(unexpected),
    )


def save_weights(
    weights: nn.Module | Mapping[str, Tensor],
    path: str | Path,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write weights as one safetensors file, whole or not at all.

    Args:
        weights: a module, or tensors by name.
        path: the file.
        origin: where they come from; JSON under "origin" in the head of the file.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    # safetensors does not order the keys of its metadata; a single one keeps the bytes the same
    metadata = None if origin is None else {"origin": json.dumps(origin, sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file(_apart(state), temporary, metadata)


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    dtype: torch.dtype | None = None,
    model: nn.Module | None = None,
) -> tuple[NamedWeights, LoadReport | None]:
    """Rewrite weights of any format and layout as one safetensors file with our names.

    The head of the file keeps name, hash and layout of the source.

    Args:
        source: file or folder.
        target: the file to write; a name ending in .safetensors.
        dtype: type of the floating-point tensors; None = as they are.
        model: on the meta device, to compare with; None = do not compare.

    Returns:
        what was written, and what of it fits the model.

    Raises:
        CheckpointError: unreadable, weights of another model, or a target that is the source or
            has another suffix.
    """
    target = Path(target)
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: expected an output name that ends in .safetensors")
    files = find_weights(source)
    if target.resolve() in {file.resolve() for file in files}:
        raise CheckpointError(f"{target}: is the input itself; give another output name")
    weights = normalise(read_weights(source))
    report = None if model is None else match_weights(model, weights, source)[1]
    if dtype is not None:
        for name, value in weights.tensors.items():
            weights.tensors[name] = value.to(dtype) if value.is_floating_point() else value
    origin = {"source": Path(source).name, "sha256": files_sha256(files), "layout": weights.layout}
    save_weights(weights.tensors, target, origin)
    return weights, report


def _check_family(model: nn.Module, weights: NamedWeights, source: str | Path) -> None:
    """Refuse weights of another model, and of more blocks than the model has."""
    kind = type(model).__name__
    family, starts = weights.family, starts_of(kind)
    if family is None or starts is None:
        return
    if family not in starts:
        other = f" (or of {', '.join(sorted(starts - {kind}))})" * (len(starts) > 1)
        raise CheckpointError(
            f"{source}: looks like {family}, but the model is {kind}; give weights of {kind}{other}"
        )
    theirs, ours = _count_blocks(weights.tensors), _count_blocks(model.state_dict())
    if theirs > ours:
        raise CheckpointError(
            f"{source}: has {theirs} blocks, the model has {ours}; set depth={theirs} or give"
            " weights of this depth"
        )


def _check_numbers(weights: NamedWeights, source: str | Path) -> None:
    """Refuse weights that training broke, and those rounded to few bits.

    The scales of rounded ones have no place in a model here.
    """
    for name, value in weights.tensors.items():
        is_rounded = name.endswith(".weight") and value.ndim > 1 and value.dtype in _ROUNDED
        if is_rounded or name.endswith(_SCALES):
            kind = str(value.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{source}: {name} is {kind}, of weights that were quantised; give those of bf16,"
                " fp16 or fp32"
            )
        if _is_broken(value):
            raise CheckpointError(
                f"{source}: {name} holds values that are no finite numbers, so the training that"
                " wrote it had diverged; give weights of an earlier step"
            )


def _is_broken(value: Tensor) -> bool:
    """Whether some are NaN or infinite; sound weights are added up once, which needs no memory."""
    if not value.is_floating_point() or value.itemsize == 1 or value.is_meta:
        return False
    return not value.sum(dtype=torch.float32).isfinite() and not bool(value.isfinite().all())


def _check_whole(report: LoadReport, fitting: Collection[str], source: str | Path) -> None:
    """Refuse to leave at random what the file has in other blocks, or under a longer name."""
    kinds = {_kind(name) for name in fitting}
    strangers = [name.split(".") for name in report.unexpected]
    torn = [
        name
        for name in report.missing
        if _kind(name) in kinds or any(_is_within(name.split("."), other) for other in strangers)
    ]
    if torn:
        first = report.unexpected[0] if report.unexpected else "none"
        raise CheckpointError(
            f"{source}: lacks {len(torn)} weights of kinds that it has elsewhere (first: {torn[0]};"
            f" names of no use here: {len(report.unexpected)}, first {first}), so part of the"
            " model would stay random; give whole weights, or the depth of these"
        )


def _kind(name: str) -> str:
    """A name without the numbers of blocks and layers."""
    return ".".join("*" if part.isdecimal() else part for part in name.split("."))


def _is_within(name: list[str], other: list[str]) -> bool:
    """Whether another name holds all parts of a name in order, as wrappers leave it."""
    parts = iter(other)
    return all(part in parts for part in name)


def _count_blocks(names: Mapping[str, Tensor]) -> int:
    """Blocks named `blocks.N.` or `spatial_blocks.N.`."""
    parts = [name.split(".") for name in names]
    return len({p[1] for p in parts if p[0] in ("blocks", "spatial_blocks") and len(p) > 1})


def _equal_tables(stored: Tensor, own: Tensor) -> bool:
    """Whether a stored position table says what the model's own does; on meta, only its size."""
    if stored.shape != own.shape or own.is_meta:
        return stored.shape == own.shape
    difference = (stored.to(own.device, torch.float32) - own.float()).abs().max()
    return bool(difference <= _TABLE_TOLERANCE)


def _adapted(name: str, value: Tensor, shape: torch.Size, source: str | Path) -> Tensor:
    """The value in another shape, where that has a meaning."""
    if name == NULL_CAPTION and value.ndim == 2 and value.shape[1] == shape[1]:
        longer = value[-1:].expand(max(shape[0] - len(value), 0), -1)
        return torch.cat((value[: shape[0]], longer))
    raise CheckpointError(
        f"{source}: {name} has shape {tuple(value.shape)}, the model needs {tuple(shape)}; these"
        " weights belong to a model of another size"
    )


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors of which no two share memory, as safetensors wants them."""
    seen: set[int] = set()
    tensors = {}
    for name, value in state.items():
        value = value.detach().contiguous()
        address = value.untyped_storage().data_ptr()
        tensors[name] = value.clone() if address in seen else value
        seen.add(address)
    return tensors
