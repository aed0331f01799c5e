"""Tensors that several workers hold in parts are one table, whatever the number of workers."""

from pathlib import Path

import pytest
import torch

from opensora.core.errors import CheckpointError
from opensora.models.weights.files import read_weights
from opensora.models.weights.parts import Part, files_of, part_name, read_parts, write_parts

MATRIX = torch.arange(35.0).reshape(7, 5)
SCALE = torch.tensor(3.0)


def write(folder: Path, cuts: list[int]) -> Path:
    """Write MATRIX cut at places of its flattened values, SCALE by the first worker."""
    ends = [*cuts, MATRIX.numel()]
    for number, (start, end) in enumerate(zip([0, *cuts], ends, strict=True)):
        parts = {"layer.weight": Part(MATRIX.reshape(-1)[start:end], (7, 5), start)}
        if number == 0:
            parts["layer.scale"] = Part(SCALE, ())
        write_parts(folder / part_name("ema.safetensors", number, len(ends)), parts)
    return folder / "ema.safetensors"


@pytest.mark.parametrize("cuts", [[], [20], [12, 24], [0, 35]], ids=["1", "rows", "flat", "empty"])
def test_parts_are_read_as_the_whole(tmp_path, cuts):
    path = write(tmp_path, cuts)
    stored = read_parts(files_of(path))
    assert torch.equal(stored["layer.weight"], MATRIX)
    assert torch.equal(stored["layer.scale"], SCALE)
    assert stored.values_of("layer.weight", 10, 26).tolist() == list(range(10, 26))
    for place in (path, tmp_path):  # as weights to start from, or to sample with
        weights = read_weights(place)
        assert torch.equal(weights["layer.weight"], MATRIX)
        assert weights.keys() == {"layer.weight", "layer.scale"}


def test_a_part_that_is_missing_or_of_another_split_is_told(tmp_path):
    path = write(tmp_path, [12, 24])
    parts = files_of(path)
    last = parts[-1].read_bytes()
    parts[-1].unlink()
    with pytest.raises(CheckpointError, match="2 files of 3 parts are there"):
        files_of(path)
    parts[-1].write_bytes(last)
    write_parts(parts[1], {"layer.weight": Part(MATRIX.reshape(-1)[12:20], (7, 5), 12)})
    with pytest.raises(CheckpointError, match=r"the parts of layer\.weight do not make a whole"):
        read_weights(path)
