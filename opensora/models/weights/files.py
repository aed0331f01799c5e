"""Weight files: found in folders of the usual layouts, and read without running what is in them."""

import argparse
import json
import pickle
import re
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from opensora.core.errors import CheckpointError
from opensora.core.text import visible
from opensora.models.weights.parts import files_of, read_parts
from opensora.models.weights.wrappers import weights_table, without_wrappers

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_FOLDER_FILES = (
    "ema.safetensors",  # results of training here; the average comes before the last step
    "model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
)
VARIANTS = ("ema", "fp32", "fp16", "bf16", "non_ema")  # best first; hubs name them in the file
_AVERAGES = ("ema.pt", "ema.pth")  # of the reference's training, where the last step is not kept
_REFUSED_OBJECT = re.compile(r"GLOBAL (\S+)")  # in torch's message about a pickle
_UNCHECKED = re.compile(r"weights.only|safe_globals|unpickl", re.IGNORECASE)
_NAME_BYTES = 255  # that file systems take
_READ_ERRORS = (
    *(SafetensorError, pickle.UnpicklingError, EOFError, OSError, RuntimeError),
    *(LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError),
    *(struct.error, MemoryError),  # the second of a size that a damaged head claims
)  # what the readers raise on bytes that are no weights


def find_weights(path: str | Path) -> list[Path]:
    """The files that together hold the weights of a file or folder, in the order to read them.

    A training folder keeps the last step in `model/` and its average in `ema.pt` or
    `ema.safetensors`: the folder means `ema.safetensors`, else `model/`; the file means itself.
    A variant of a hub, as `model.fp16.safetensors`, counts where there is no whole one.

    Raises:
        CheckpointError: nothing there, or an index that can not be read.
    """
    path = Path(path)
    if found := files_of(path):
        return found
    if not path.is_dir():
        raise CheckpointError(
            f"{path}: no such file or folder; give a weight file ({', '.join(SUFFIXES)}) or a"
            " folder on this disk"
        )
    names = [*_FOLDER_FILES, *(_variant(name, v) for v in VARIANTS for name in _FOLDER_FILES[1:])]
    places = [folder / name for folder in (path, path / "model") for name in names]
    for file in (*places, *(path / name for name in _AVERAGES)):
        if found := files_of(file):
            return _shards(file) if file.suffix == ".json" else found
    raise CheckpointError(f"{path}: holds no weights; expected one of {', '.join(_FOLDER_FILES)}")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a file or folder by name, on the CPU, without wrappers and prefixes.

    Raises:
        CheckpointError: nothing there, unreadable, or not a table of tensors.
    """
    weights: dict[str, Tensor] = {}
    files = find_weights(path)
    if len(files) > 1 and all(file.suffix == ".safetensors" for file in files):
        try:
            weights.update(read_parts(files))
        except _READ_ERRORS as error:
            raise CheckpointError(f"{path}: {_complaint(files[0], str(error))}") from error
    else:
        for file in files:
            weights.update(_read_file(file))
    return without_wrappers(weights, path)


def folder_variant(folder: Path) -> str | None:
    """The variant whose weights a folder holds instead of whole ones, as "fp16"; None = whole."""
    if any((folder / name).is_file() for name in _FOLDER_FILES):
        return None
    for variant in VARIANTS:
        if any((folder / _variant(name, variant)).is_file() for name in _FOLDER_FILES[1:]):
            return variant
    return None


def _variant(name: str, variant: str) -> str:
    """`model.safetensors` as `model.fp16.safetensors`, its index as `*.index.fp16.json`."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{variant}.{suffix}"


def _shards(index: Path) -> list[Path]:
    """Files that an index names, in the order of their names."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = {str(name) for name in content["weight_map"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{index}: expected an index with a weight_map") from error
    if paths := [name for name in sorted(names) if not _is_plain(name)]:
        raise CheckpointError(
            f"{index}: names {visible(paths[0][:80])!r}, which is no file beside it; mend the index"
        )
    files = [index.parent / name for name in sorted(names)]
    absent = [file.name for file in files if not file.is_file()]
    if absent or not files:
        raise CheckpointError(
            f"{index}: names {len(files)} files of which {len(absent)} are missing (first:"
            f" {(absent or ['none'])[0]}); copy the whole folder"
        )
    return files


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file in the same folder."""
    is_short = 0 < len(name.encode("utf-8", "replace")) <= _NAME_BYTES
    return is_short and not set(name) & {"/", "\\", "\0"} and name not in (".", "..")


def _read_file(path: Path) -> dict[str, Tensor]:
    """Tensors of one file."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # training checkpoints of DiT keep their command line, a plain table of values
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        raise CheckpointError(f"{path}: {_complaint(path, str(error))}") from error
    weights = weights_table(content)
    if not weights:
        raise CheckpointError(
            f"{path}: expected a table of named tensors, found other content; save"
            " model.state_dict() of the model"
        )
    return weights


def mistaken_file(path: Path) -> str | None:
    """What a file is that a download left in the place of another, and what to do; else None."""
    try:
        with open(path, "rb") as file:
            start = file.read(64).lstrip()
    except OSError as error:
        return f"can not be opened ({error.strerror}); check its permissions"
    if start.startswith(b"version https://git-lfs"):
        return "is only a pointer of Git LFS; fetch the file with `git lfs pull`"
    if start[:1] == b"<":
        return "is a web page, so a download went wrong; download the file again"
    return None


def _complaint(path: Path, reason: str) -> str:
    """What is wrong with a file that can not be read, and what to do."""
    if refused := _REFUSED_OBJECT.search(reason):
        return (
            f"holds {refused[1]}, an object whose loading could run code, and is refused; where"
            " you trust the file, save its tensors alone: torch.save(model.state_dict(), path)"
        )
    if mistake := mistaken_file(path):
        return mistake
    if "TorchScript" in reason:
        return (
            "is TorchScript, a program, which is not run here; where you trust the file, save its"
            " tensors alone: torch.save(torch.jit.load(path).state_dict(), other_path)"
        )
    return (
        f"expected readable weights ({', '.join(SUFFIXES)}) but it is damaged, cut off or another"
        f" kind of file ({reading_fault(reason)}); copy or download it again"
    )


def reading_fault(error: object) -> str:
    """What a reader of weights says, on one line, without advice to load them unchecked.

    torch proposes `weights_only=False` and transformers `trust_remote_code=True`: both run what
    came with the weights.
    """
    words = " ".join(str(error).split())
    if "trust_remote_code" in words:
        return "it needs code of its own, which is never run; give a model that transformers knows"
    if "ignore_mismatched_sizes" in words:
        return "its config.json describes a model of another size than its weights are"
    if not _UNCHECKED.search(words):
        return words[:160] or "nothing in it"
    if refused := _REFUSED_OBJECT.search(words):
        return f"holds {refused[1][:80]}, an object whose loading could run code"
    return "not a file of torch.save"
