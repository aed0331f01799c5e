"""Tensors in the parts that several workers hold: a file of each, put together where they are read.

`ema.safetensors` is whole; else `ema-00001-of-00002.safetensors` and its like lie beside each
other. A part is a run of neighbouring values, whatever split it: rows, or a flattened tensor.
The head of a file says where those begin that are not whole.

torch.distributed.checkpoint, which also writes safetensors, is not used: it knows parts of DTensors
alone, and ZeRO's flattened pieces are none; it casts types without a word, keeps no hashes, and its
reader takes every file that lies in the folder.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from opensora.core.errors import CheckpointError

_PLACES = "parts"  # in the head: name -> [place of the first value, shape of the whole ...]


@dataclass(frozen=True)
class Part:
    """Neighbouring values of a tensor, in the order of its memory.

    Attributes:
        values: n of them, in any shape.
        shape: of the whole.
        start: place of the first one in the flattened whole.
    """

    values: Tensor
    shape: tuple[int, ...]
    start: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self.values.numel() == prod(self.shape)


def part_name(name: str, number: int, of: int) -> str:
    """Name of a file with the parts of worker `number` (from 0) of those that have some."""
    stem, _, suffix = name.rpartition(".")
    return name if of == 1 else f"{stem}-{number + 1:05d}-of-{of:05d}.{suffix}"


def files_of(path: Path) -> list[Path]:
    """The file of that name, or those of its parts; none where there is neither.

    Raises:
        CheckpointError: a part is missing.
    """
    if path.is_file():
        return [path]
    if path.suffix != ".safetensors" or not path.parent.is_dir():
        return []
    pattern = re.compile(rf"{re.escape(path.stem)}-(\d{{5}})-of-(\d{{5}}){re.escape(path.suffix)}")
    found = sorted((m, file) for file in path.parent.iterdir() if (m := _numbers(pattern, file)))
    if not found:
        return []
    of = found[0][0][1]
    if [numbers for numbers, _ in found] != [(number + 1, of) for number in range(of)]:
        raise CheckpointError(
            f"{path}: {len(found)} files of {of} parts are there, which are not all of them; copy"
            " the whole folder"
        )
    return [file for _, file in found]


def _numbers(pattern: re.Pattern[str], file: Path) -> tuple[int, int] | None:
    match = pattern.fullmatch(file.name)
    return (int(match[1]), int(match[2])) if match else None


def write_parts(path: Path, parts: Mapping[str, Part]) -> None:
    """Write what one worker holds of named tensors, on the CPU, as one safetensors file."""
    tensors = {
        name: (part.values.reshape(part.shape) if part.is_whole else part.values).contiguous()
        for name, part in parts.items()
    }
    places = {n: [p.start, *p.shape] for n, p in sorted(parts.items()) if not p.is_whole}
    save_file(tensors, path, {_PLACES: json.dumps(places)} if places else None)


class Stored(Mapping[str, Tensor]):
    """Named tensors that lie in files, each read when it is asked for.

    Where one file has the whole of a tensor, what is returned is a view of the file.

    Args:
        files: what each of them holds.

    Raises:
        ValueError: parts do not make a whole.
    """

    def __init__(self, files: Iterable[Mapping[str, Part]]) -> None:
        self._parts: dict[str, list[Part]] = {}
        for file in files:
            for name, part in file.items():
                self._parts.setdefault(name, []).append(part)
        for name, parts in self._parts.items():
            parts.sort(key=lambda part: part.start)
            end = 0
            for part in parts:
                fits = part.start == end and part.shape == parts[0].shape
                end = part.start + part.values.numel() if fits else -1
            if end != prod(parts[0].shape):
                raise ValueError(f"the parts of {name} do not make a whole")

    def __getitem__(self, name: str) -> Tensor:
        """A whole tensor."""
        first, *more = self._parts[name]
        values = self.values_of(name, 0, prod(first.shape)) if more else first.values
        return values.reshape(first.shape)

    def __iter__(self) -> Iterator[str]:
        """The names, in no order."""
        return iter(self._parts)

    def __len__(self) -> int:
        """How many tensors there are."""
        return len(self._parts)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a whole tensor."""
        return tuple(self._parts[name][0].shape)

    def dtype(self, name: str) -> torch.dtype:
        """Type of a tensor."""
        return self._parts[name][0].values.dtype

    def values_of(self, name: str, start: int, stop: int) -> Tensor:
        """Values [stop - start] of a flattened tensor; no others are read."""
        found = []
        for part in self._parts[name]:
            flat = part.values.reshape(-1)
            low, high = max(start - part.start, 0), min(stop - part.start, flat.numel())
            if low < high:
                found.append(flat[low:high])
        if len(found) == 1:
            return found[0]
        return torch.cat(found or [self._parts[name][0].values.reshape(-1)[:0]])

    def renamed(self, names: Mapping[str, str]) -> "Stored":
        """The same under other names; those that `names` lacks are left out."""
        return Stored(
            {names[name]: part}
            for name, parts in self._parts.items()
            for part in parts
            if name in names
        )


def read_parts(files: Sequence[Path]) -> Stored:
    """What the files of `files_of` hold together.

    Raises:
        OSError, SafetensorError, ValueError, TypeError: a file is damaged, or parts are missing.
    """
    return Stored(_read(file) for file in files)


def _read(file: Path) -> dict[str, Part]:
    with safe_open(file, "pt") as opened:
        places = json.loads((opened.metadata() or {}).get(_PLACES, "{}"))
    parts = {}
    for name, values in load_file(file).items():
        start, *shape = places.get(name, [0, *values.shape])
        parts[name] = Part(values, tuple(shape), start)
    return parts
