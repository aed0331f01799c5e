"""What a step says is read later: nobody waits for the device, and nothing is lost by it."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from opensora.acceleration.workers import worker_group
from opensora.core.errors import ConfigError, OpenSoraError, Stopped
from opensora.schedulers.rf import RectifiedFlow
from opensora.training.device import flight
from opensora.training.device.flight import Flights
from opensora.training.start import prepare_run
from opensora.training.step import train_step

from ..conftest import interrupt_at, run
from ..test_loop import assert_same_results

_WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"}


class Waits(TorchDispatchMode):
    """Collects operations whose result the host must see; on a GPU each empties the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in _WAITING:
            self.found.append(func._schema.name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("scheduler", "optimizer", "plugin"),
    [
        ({"type": "rflow", "use_timestep_transform": True}, "muon", "ddp"),
        ({"type": "iddpm-speed"}, "adamw", "ddp"),
        ({"type": "iddpm"}, "adamw", "fsdp"),
    ],
)
def test_no_step_waits_for_its_device(make_config, monkeypatch, scheduler, optimizer, plugin):
    model = make_config().model | {"pred_sigma": scheduler["type"] != "rflow", "drop_path": 0.5}
    config = make_config(
        model=model,
        scheduler=scheduler,
        optimizer={"type": optimizer},
        plugin=plugin,
        mask_ratios={"mask_image_head": 0.5},
    )
    with worker_group() as workers:
        prepared = prepare_run(config, workers)
        prepared.engine.module.is_compiled = True  # a CPU would look for the longest caption
        batches = [prepared.source.read(at) for at in range(2)]
        assert prepared.masks is not None
        drawn = [prepared.masks.get_masks(2, b["latents"].shape[2], Random(1)) for b in batches]
        monkeypatch.setattr(prepared.masks, "get_masks", lambda *_: drawn.pop(0))  # on the host
        train_step(prepared, 0, 0, batches[0], stop=False)  # makes what is made once
        with Waits() as waits:
            last = train_step(prepared, 1, 1, batches[1], stop=False)
            assert prepared.ema is not None
            prepared.ema.update(1)
        assert waits.found == []
        with Waits() as waits:  # and it would be seen
            float(prepared.engine.parameters[0].sum())
        assert waits.found == ["aten::_local_scalar_dense"]
        assert last.read(prepared).loss > 0


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as on a GPU, one step after."""
    monkeypatch.setattr(flight, "steps_behind", lambda device: 1)


def break_call(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Make a loss NaN; there are two calls a step, the model's and that of predicting zero."""
    original, calls = RectifiedFlow.training_losses, []

    def broken(self: RectifiedFlow, *arguments: Any, **keywords: Any) -> dict[str, Tensor]:
        terms = original(self, *arguments, **keywords)
        calls.append(1)
        return {"loss": terms["loss"] * float("nan")} if len(calls) in numbers else terms

    monkeypatch.setattr(RectifiedFlow, "training_losses", broken)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_broken_step_changes_no_weights_and_is_named_one_step_later(
    make_config, monkeypatch, late, optimizer
):
    config = make_config(optimizer={"type": optimizer})
    break_call(monkeypatch, 3)
    with worker_group() as workers:
        prepared = prepare_run(config, workers)
        flights = Flights(prepared)
        batches = [prepared.source.read(at) for at in range(3)]
        first = train_step(prepared, 0, 0, batches[0], stop=False)
        assert flights.land(first, all_of_them=False) == []
        weights = {k: v.clone() for k, v in prepared.engine.module.state_dict().items()}
        moments = repr(prepared.engine.optimizer.optim.state_dict()["state"])
        broken = train_step(prepared, 1, 1, batches[1], stop=False)
        assert [result.step for result in flights.land(broken, all_of_them=False)] == [0]
        for name, value in prepared.engine.module.state_dict().items():
            assert torch.equal(value, weights[name])
        assert repr(prepared.engine.optimizer.optim.state_dict()["state"]) == moments
        third = train_step(prepared, 2, 2, batches[2], stop=False)
        with pytest.raises(OpenSoraError, match="loss of step 2 is not a finite number") as error:
            flights.land(third, all_of_them=False)
    assert all(name in str(error.value) for name in batches[1]["ids"])
    others = set(batches[0]["ids"]) | set(batches[2]["ids"])
    assert not any(f" {name}," in str(error.value) for name in others - set(batches[1]["ids"]))


def test_no_checkpoint_is_written_of_a_broken_run(make_config, monkeypatch, late):
    config = make_config(ckpt_every=2, log_every=100)
    break_call(monkeypatch, 7)  # step 4, after which a checkpoint is due
    with pytest.raises(OpenSoraError, match="loss of step 4 is not a finite number"):
        run(config)
    folders = sorted(path.name for path in config.state_folder.glob("step_*"))
    assert folders == ["step_00000002"]
    assert (config.state_folder / "metrics.jsonl").read_text() == ""
    for path in config.state_folder.glob("step_*/*.safetensors"):
        assert all(value.isfinite().all() for value in load_file(path).values())


def test_as_many_broken_steps_in_a_row_as_allowed_are_left_out(
    make_config, monkeypatch, tmp_path, caplog
):
    config = make_config(max_broken_steps=1, log_every=1)
    with monkeypatch.context() as patch:
        break_call(patch, 3, 7)  # steps 2 and 4; each asks twice, for the loss of zero as well
        run(config)
    lines = (config.state_folder / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps[:3] == [1, 3, 5]
    assert "step_left_out in_a_row=1 reason='train: the loss of step 2 is not" in caplog.text
    assert all(
        value.isfinite().all()
        for value in load_file(Path(config.outputs) / "model.safetensors").values()
    )
    config = make_config(outputs=str(tmp_path / "two"), max_broken_steps=1, log_every=1)
    break_call(monkeypatch, 3, 5)
    with pytest.raises(OpenSoraError, match="loss of step 3 is not a finite number"):
        run(config)
    with pytest.raises(ConfigError, match="'zero2' can leave no step out"):
        make_config(max_broken_steps=1, plugin="zero2")


def test_a_stop_that_is_heard_a_step_later_loses_nothing(
    make_config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: None
):
    straight = make_config(outputs=str(tmp_path / "straight"), log_every=100)
    run(straight)
    halves = make_config(outputs=str(tmp_path / "halves"), log_every=100)
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=2)
        with pytest.raises(Stopped, match="after step 4 of 6"):
            run(halves)
    run(halves)
    assert_same_results(straight, halves)
