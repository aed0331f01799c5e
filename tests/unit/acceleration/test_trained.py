"""Muon and AdamW under every plugin, each going on from what another one saved."""

from pathlib import Path

import pytest
import torch

from opensora.models.weights.parts import Stored, files_of, read_parts
from tests import forked
from tests.unit.acceleration.split_cases import CHANGING


def read(folder: Path, name: str) -> Stored:
    return read_parts(files_of(folder / f"{name}.safetensors"))


@pytest.mark.slow
def test_two_workers_compute_the_same_under_every_plugin_and_one_takes_over(tmp_path: Path) -> None:
    ranks = [(str(rank), "2", str(tmp_path)) for rank in range(2)]
    done = forked.together("tests.unit.acceleration.split_cases", ranks, timeout=400)
    assert not any(one.returncode for one in done), [one.stderr for one in done]
    for part in range(len(CHANGING)):
        for name in ("live", "optimizer"):
            found = read(tmp_path / "changing" / str(part), name)
            wanted = read(tmp_path / "straight" / str(part), name)
            assert found.keys() == wanted.keys()
            assert "live" in name or any(key.startswith("momentum_buffer.") for key in found)
            for key, value in found.items():
                torch.testing.assert_close(value, wanted[key], rtol=1e-6, atol=1e-6, msg=key)
    # what two wrote in parts is all there for one
    split = tmp_path / "changing" / str(CHANGING.index("fsdp"))
    assert len(files_of(split / "optimizer.safetensors")) == 2
    for name in ("live", "optimizer"):
        alone, two = read(tmp_path / "alone", name), read(split, name)
        assert alone.keys() == two.keys()
        assert all(torch.equal(value, two[key]) for key, value in alone.items())
