from pathlib import Path

import pytest
import torch

from opensora.core.errors import CheckpointError
from opensora.training.checkpoint import (
    Checkpoint,
    Counters,
    newest_checkpoint,
    read_checkpoint,
    remove_checkpoints,
    write_checkpoint,
)

CPU = torch.device("cpu")


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        counters=Counters(step, 2 * step, "plan", "recipe", seconds=1.5, loss_ema=0.25),
        model={"w": torch.full((2, 3), float(step)).T},  # not contiguous
        ema={"w": torch.zeros(3, 2)},
        optimizer={"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
    )


def test_what_is_written_is_read(tmp_path):
    write_checkpoint(tmp_path, checkpoint(3))
    folder, counters = newest_checkpoint(tmp_path)
    assert folder.name == "step_00000003"
    assert counters == Counters(3, 6, "plan", "recipe", seconds=1.5, loss_ema=0.25)
    read = read_checkpoint(folder, counters, CPU)
    assert torch.equal(read.model["w"], torch.full((3, 2), 3.0))
    assert read.optimizer == checkpoint(3).optimizer


def test_the_newest_two_stay(tmp_path):
    for step in (1, 2, 10):
        write_checkpoint(tmp_path, checkpoint(step))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step_00000002", "step_00000010"]


@pytest.mark.parametrize("damage", ["cut", "missing_file", "no_counters"])
def test_an_incomplete_checkpoint_is_passed_by(tmp_path: Path, damage):
    write_checkpoint(tmp_path, checkpoint(1))
    newest = write_checkpoint(tmp_path, checkpoint(2))
    if damage == "cut":
        content = (newest / "optimizer.pt").read_bytes()
        (newest / "optimizer.pt").write_bytes(content[:-1])
    elif damage == "missing_file":
        (newest / "ema.safetensors").unlink()
    else:
        (newest / "run.json").write_text("{")
    folder, counters = newest_checkpoint(tmp_path)
    assert (folder.name, counters.step) == ("step_00000001", 1)


def test_damage_of_the_same_size_is_an_error_that_says_what_to_do(tmp_path):
    folder = write_checkpoint(tmp_path, checkpoint(1))
    size = (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").write_bytes(b"\xff" * size)
    found = newest_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="remove this folder"):
        read_checkpoint(*found, CPU)


def test_nothing_there_is_no_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path / "absent") is None
    write_checkpoint(tmp_path, checkpoint(1))
    remove_checkpoints(tmp_path)
    assert newest_checkpoint(tmp_path) is None
