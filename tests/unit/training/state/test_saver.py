"""A checkpoint is written beside the steps, and is that of the step at which it was begun."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from opensora.acceleration.workers import worker_group
from opensora.core.errors import OpenSoraError, Stopped
from opensora.core.io import read_json, write_json
from opensora.training.checkpoint import newest_checkpoint, read_checkpoint
from opensora.training.start import TrainingRun, prepare_run
from opensora.training.state import saver as module
from opensora.training.state.saver import Saver
from tests.unit.training.conftest import interrupt_at, run
from tests.unit.training.test_loop import assert_same_results


@pytest.fixture
def prepared(make_config: Any) -> Iterator[TrainingRun]:
    with worker_group() as workers:
        yield prepare_run(make_config(), workers)


def test_what_training_changes_later_is_not_in_it(prepared, monkeypatch):
    root, gate = prepared.config.state_folder, threading.Event()
    write = module.write_files

    def wait_and_write(*arguments: Any) -> Any:
        assert gate.wait(60)
        return write(*arguments)

    monkeypatch.setattr(module, "write_files", wait_and_write)
    weights = prepared.engine.module.state_dict()
    before = {name: value.clone() for name, value in weights.items()}
    with Saver(root, prepared.workers, None) as saver:
        saver.start(prepared)  # returns while nothing is written yet
        assert newest_checkpoint(root) is None
        with torch.no_grad():
            for value in (*weights.values(), *prepared.ema.average.values()):
                value.add_(1.0)
        gate.set()
    folder, counters = newest_checkpoint(root)
    read = read_checkpoint(folder, counters)
    assert read.model.keys() == read.ema.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(read.model[name], value)
        assert torch.equal(read.ema[name], value)


@pytest.mark.parametrize("next_call", ["start", "wait"])
def test_one_that_fails_is_told_at_the_next_and_at_the_end(prepared, monkeypatch, next_call):
    root = prepared.config.state_folder
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(module, "write_files", lambda *_: (_ for _ in ()).throw(full))
    saver = Saver(root, prepared.workers, None)
    saver.start(prepared)
    call = saver.wait if next_call == "wait" else lambda: saver.start(prepared)
    with pytest.raises(OpenSoraError, match=r"step_00000000: could not be written \(No space left"):
        call()
    assert [path.name for path in root.iterdir() if "step_" in path.name] == []
    monkeypatch.undo()
    with saver:
        saver.start(prepared)
    assert newest_checkpoint(root) is not None


def test_a_checkpoint_of_the_former_format_goes_on(make_config, tmp_path, monkeypatch):
    straight, former = (
        make_config(outputs=str(tmp_path / name)) for name in ("straight", "former")
    )
    run(straight)
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=2)
        with pytest.raises(Stopped, match="step 3 of 6"):
            run(former)
    with worker_group() as workers:
        optimizer = prepare_run(former, workers).engine.optimizer.optim
        as_before(former.state_folder / "step_00000003", optimizer.state_dict())
    run(former)
    assert_same_results(straight, former)


def as_before(folder: Path, optimizer: dict[str, Any]) -> None:
    """Rewrite a checkpoint as one with a whole optimizer in a file of torch."""
    (folder / "optimizer.safetensors").unlink()
    torch.save(optimizer, folder / "optimizer.pt")
    fields = read_json(folder / "run.json")
    names = ("optimizer", "sha256", "seal")
    fields = {name: value for name, value in fields.items() if name not in names}
    del fields["bytes"]["optimizer.safetensors"]
    write_json(folder / "run.json", fields)
