"""Weights of models: read from any of the usual formats, written as safetensors."""

import json
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from opensora.core.errors import CheckpointError
from opensora.core.io import atomic_path

log = logging.getLogger(__name__)

POSITION_TABLES = frozenset(
    {"pos_embed", "pos_embed_spatial", "pos_embed_temporal", "temp_embed", "rope.freqs"}
)  # made from sizes alone, so a table of another size is not a loss
NULL_CAPTION = "y_embedder.y_embedding"
_PATCH_WEIGHT = "x_embedder.proj.weight"
_WRAPPERS = ("ema", "state_dict", "model", "module")  # keys that hold the weights, best first
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_FOLDER_FILES = (
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
)


@dataclass(frozen=True)
class LoadReport:
    """What became of the names in a checkpoint and in the model.

    Attributes:
        loaded: names copied as they are.
        remade: names whose size differs and that were adapted or made anew.
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
            parts.append(f"{field}={len(names)}" + (f" ({', '.join(names[:3])}...)" * bool(names)))
        return " ".join(parts)


def load_checkpoint(model: nn.Module, path: str | Path) -> LoadReport:
    """Copy weights into a model.

    Two-dimensional patch weights of image models fit three-dimensional patches of one frame;
    position tables of another size keep the model's own values; a null caption of another
    length is cut or continued with its last row.

    Args:
        model: receives the weights in place.
        path: file (.safetensors, .pt, .pth, .bin, .ckpt) or folder of one or several such files.

    Raises:
        CheckpointError: nothing there, unreadable, or weights of another model.
    """
    state = read_weights(path)
    own = model.state_dict()
    fitting: dict[str, Tensor] = {}
    remade: list[str] = []
    for name in state.keys() & own.keys():
        value, target = state[name], own[name]
        if value.shape != target.shape:
            if name in POSITION_TABLES:
                remade.append(name)
                continue
            adapted = _adapted(name, value, target.shape)
            if adapted is None:
                raise CheckpointError(
                    f"{path}: {name} has shape {tuple(value.shape)}, the model needs"
                    f" {tuple(target.shape)}; these weights belong to a model of another size"
                )
            value = adapted
            remade.append(name)
        fitting[name] = value
    unexpected = sorted(state.keys() - own.keys() - POSITION_TABLES)
    if len(fitting) <= len(unexpected):
        raise CheckpointError(
            f"{path}: only {len(fitting)} of {len(state)} names belong to"
            f" {type(model).__name__} (first stranger: {(unexpected or ['none'])[0]});"
            " give the weights of this model"
        )
    model.load_state_dict(fitting, strict=False)
    report = LoadReport(
        loaded=tuple(sorted(fitting.keys() - set(remade))),
        remade=tuple(sorted(remade)),
        missing=tuple(sorted(own.keys() - fitting.keys() - set(remade))),
        unexpected=tuple(unexpected),
    )
    log.info("checkpoint path=%s %s", path, report)
    return report


def save_weights(weights: nn.Module | Mapping[str, Tensor], path: str | Path) -> None:
    """Write weights as one safetensors file, whole or not at all."""
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    with atomic_path(path) as temporary:
        save_file({name: value.detach().contiguous() for name, value in state.items()}, temporary)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a file or folder by name, on the CPU.

    Raises:
        CheckpointError: nothing there, unreadable, or not a table of tensors.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file or folder; give weights on this disk")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        KeyError,
        ValueError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: expected readable weights ({', '.join(_SUFFIXES)}) but: {reason[:200]}"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not any(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: expected a table of named tensors, found other content")
    return {
        name.removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }


def _read_folder(folder: Path) -> dict[str, Tensor]:
    """Weights of a folder: one file, or shards listed in an index."""
    if (folder / "model").is_dir():  # a training checkpoint keeps the weights in this subfolder
        folder = folder / "model"
    for name in _FOLDER_FILES:
        file = folder / name
        if not file.is_file():
            continue
        if file.suffix != ".json":
            return read_weights(file)
        try:
            shards = sorted(
                set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (ValueError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{file}: expected an index with a weight_map") from error
        weights: dict[str, Tensor] = {}
        for shard in shards:
            weights.update(read_weights(folder / shard))
        return weights
    raise CheckpointError(f"{folder}: holds no weights; expected one of {', '.join(_FOLDER_FILES)}")


def _adapted(name: str, value: Tensor, shape: torch.Size) -> Tensor | None:
    """The value in another shape where that has a meaning, else None."""
    if (
        name == _PATCH_WEIGHT
        and value.ndim == 4
        and (*value.shape[:2], 1, *value.shape[2:]) == shape
    ):
        return value.unsqueeze(2)
    if name == NULL_CAPTION and value.ndim == 2 and value.shape[1] == shape[1]:
        longer = value[-1:].expand(max(shape[0] - len(value), 0), -1)
        return torch.cat((value[: shape[0]], longer))
    return None
