from pathlib import Path

import pytest
import torch

from opensora.core.errors import CheckpointError
from opensora.core.io import read_json, write_json
from opensora.models.weights.parts import Part
from opensora.training.checkpoint import (
    Counters,
    clean_state,
    newest_checkpoint,
    newest_sound,
    read_checkpoint,
    remove_checkpoints,
)
from opensora.training.state.files import finish, fresh_folder, write_files
from opensora.training.state.snapshot import Snapshot


def snapshot(step: int) -> Snapshot:
    weight = torch.full((2, 3), float(step)).T  # not contiguous
    return Snapshot(
        counters=Counters(step, 2 * step, "plan", "recipe", seconds=1.5, loss_ema=0.25),
        tensors={
            "model.safetensors": {"w": Part(weight, (3, 2))},
            "ema.safetensors": {"w": Part(torch.zeros(3, 2), (3, 2))},
            "optimizer.safetensors": {"step.w": Part(torch.tensor(1.0), ())},
        },
        apart=frozenset(),
        optimizer={"param_groups": [{"lr": 0.1, "params": [0]}]},
        metrics='{"step": 1}\n',
    )


def write_checkpoint(root: Path, made: Snapshot) -> Path:
    folder = fresh_folder(root, made.counters.step)
    return finish(root, folder, made, write_files(folder, made, 0, 1))


def test_what_is_written_is_read(tmp_path):
    write_checkpoint(tmp_path, snapshot(3))
    folder, counters = newest_checkpoint(tmp_path)
    assert folder.name == "step_00000003"
    assert counters == Counters(3, 6, "plan", "recipe", seconds=1.5, loss_ema=0.25)
    read = read_checkpoint(folder, counters)
    assert torch.equal(read.model["w"], torch.full((3, 2), 3.0))
    assert dict(read.optimizer) == {"step.w": torch.tensor(1.0)}
    assert read.optimizer_state == snapshot(3).optimizer
    assert read.metrics == snapshot(3).metrics


def test_the_newest_two_stay(tmp_path):
    for step in (1, 2, 10):
        write_checkpoint(tmp_path, snapshot(step))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step_00000002", "step_00000010"]


@pytest.mark.parametrize("damage", ["cut", "missing_file", "no_counters"])
def test_an_incomplete_checkpoint_is_passed_by(tmp_path: Path, damage):
    write_checkpoint(tmp_path, snapshot(1))
    newest = write_checkpoint(tmp_path, snapshot(2))
    if damage == "cut":
        content = (newest / "optimizer.safetensors").read_bytes()
        (newest / "optimizer.safetensors").write_bytes(content[:-1])
    elif damage == "missing_file":
        (newest / "ema.safetensors").unlink()
    else:
        (newest / "run.json").write_text("{")
    folder, counters = newest_checkpoint(tmp_path)
    assert (folder.name, counters.step) == ("step_00000001", 1)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "optimizer.safetensors",
                                  "run.json", "metrics.jsonl"])  # fmt: skip
@pytest.mark.parametrize("damage", ["flip", "zeros", "cut", "missing"])
def test_an_unsound_checkpoint_is_set_aside_with_one_line(tmp_path, caplog, name, damage):
    write_checkpoint(tmp_path, snapshot(1))
    newest = write_checkpoint(tmp_path, snapshot(2))
    path = newest / name
    size = path.stat().st_size
    if damage == "flip":
        flip(path)
    elif damage == "zeros":
        path.write_bytes(bytes(size))
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: size // 2])
    else:
        path.unlink()
    clean_state(tmp_path)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "step_00000002" in line
    assert name in line
    folder, counters = newest_checkpoint(tmp_path)
    assert (folder.name, counters.step) == ("step_00000001", 1)
    assert (tmp_path / "unsound_step_00000002").is_dir()
    # and it takes no place among the newest two
    for step in (2, 3):
        write_checkpoint(tmp_path, snapshot(step))
    assert newest_checkpoint(tmp_path)[1].step == 3
    assert newest_sound(tmp_path) == (tmp_path / "step_00000003", [])


def test_none_sound_is_an_error_each_time_and_half_written_ones_are_swept(tmp_path):
    folders = [write_checkpoint(tmp_path, snapshot(step)) for step in (1, 2)]
    (tmp_path / ".step_00000003.0a1b2c3d").mkdir()
    for folder in folders:
        flip(folder / "model.safetensors")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"no checkpoint is sound .*step_00000002: model"):
            clean_state(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in folders]


def test_a_checkpoint_of_before_has_sizes_alone(tmp_path):
    folder = write_checkpoint(tmp_path, snapshot(1))
    fields = read_json(folder / "run.json")
    write_json(folder / "run.json", {k: fields[k] for k in fields if k not in ("sha256", "seal")})
    clean_state(tmp_path)
    assert newest_checkpoint(tmp_path)[1].step == 1


def test_nothing_there_is_no_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path / "absent") is None
    write_checkpoint(tmp_path, snapshot(1))
    remove_checkpoints(tmp_path)
    assert newest_checkpoint(tmp_path) is None
