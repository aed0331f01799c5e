"""fp16 under each plugin: losses are scaled, overflows left out and counted, resumes exact."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.amp import GradScaler

from opensora.acceleration import plugins
from opensora.acceleration.plugins import Engine
from opensora.acceleration.scaling import ZeroScale
from opensora.acceleration.workers import worker_group


def whole(weight: torch.Tensor) -> torch.Tensor:
    """A weight as a plain tensor."""
    return plugins.whole_norm(weight.detach())


@pytest.fixture
def half_engine(monkeypatch):
    """An fp16 engine on the CPU, where only this test may have one."""
    monkeypatch.setattr(plugins, "effective_dtype", lambda name, device: torch.float16)
    with worker_group() as workers:

        def make(plugin: str = "ddp") -> Engine:
            torch.manual_seed(0)
            model = nn.Linear(3, 2)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            fields = {"plugin": plugin, "dtype": "fp16", "grad_clip": None, "workers": workers}
            return Engine(model, optimizer, **fields)

        yield make


@pytest.mark.parametrize("plugin", ["ddp", "fsdp"])
def test_fp16_scales_the_loss_and_a_gradient_too_small_for_it_survives(half_engine, plugin):
    engine = half_engine(plugin)
    with torch.no_grad():
        engine.module.weight.zero_()  # beside 0 a step of 1e-9 is not rounded away
    x = torch.full((1, 3), 1e-2)
    with engine.autocast():
        loss = engine.model(x).float().sum() * 1e-6  # gradient 1e-8: zero in fp16
    engine.backward(loss)
    norm = engine.update().item()
    assert not engine.overflowed
    # six weights with gradient 1e-8 and two biases with 1e-6
    assert norm == pytest.approx((6 * 1e-16 + 2 * 1e-12) ** 0.5, rel=1e-2)
    expected = torch.full((2, 3), -1e-9)
    torch.testing.assert_close(whole(engine.module.weight), expected, rtol=1e-2, atol=0)


@pytest.mark.parametrize("plugin", ["ddp", "fsdp"])
def test_an_fp16_step_that_overflows_is_left_out_and_the_scale_halved(half_engine, plugin):
    engine = half_engine(plugin)
    before = whole(engine.module.weight).clone()
    scale = engine.state_dict()["loss_scale"]["scale"]
    with engine.autocast():
        loss = engine.model(torch.ones(1, 3)).float().sum() * 1e4  # times 65536: beyond fp16
    engine.backward(loss)
    assert not engine.update().isfinite()
    assert engine.overflowed
    assert torch.equal(whole(engine.module.weight), before)
    state = engine.state_dict()
    assert state["loss_scale"]["scale"] == scale / 2
    assert state["loss_scale"]["overflows"] == engine.overflows == 1
    again = half_engine(plugin)
    again.load_state_dict(state)
    assert again.state_dict()["loss_scale"] == state["loss_scale"]
    assert "loss_scale" in state  # loading leaves it whole
    with engine.autocast():
        loss = engine.model(torch.ones(1, 3)).float().sum() * 0.1
    engine.backward(loss)
    assert engine.update().isfinite()
    assert not engine.overflowed


def zero_optimizer(gradients: list[torch.Tensor]) -> SimpleNamespace:
    """What `ZeroScale` asks of ColossalAI's optimizer, which needs a GPU."""
    return SimpleNamespace(
        num_param_groups=1, get_working_grads_by_group_id=lambda group: gradients
    )


def test_zero_is_given_gradients_without_the_scale():
    scaler = GradScaler("cpu", init_scale=1024.0)
    gradients = [torch.tensor([1024.0, 3.0]), torch.tensor([[512.0]])]
    with worker_group():
        scale = ZeroScale(scaler, zero_optimizer(gradients))
        scaler.scale(torch.ones(()))
        assert not scale.should_skip_step()
        assert [part.flatten().tolist() for part in gradients] == [[1.0, 3 / 1024], [0.5]]
        scaler.update()
        gradients[1][0] = float("nan")
        assert scale.should_skip_step()
        assert scale.overflowed
        scaler.update()
    assert scaler.get_scale() == 512.0


PAIR = """
import sys, torch, torch.distributed as dist
from torch import nn
from torch.amp import GradScaler
from opensora.acceleration import plugins, scaling
from opensora.acceleration.workers import Workers
from tests.unit.acceleration.test_scaling import whole, zero_optimizer
rank = int(sys.argv[1])
dist.init_process_group(
    "gloo", store=dist.FileStore(sys.argv[2], 2), rank=rank, world_size=2
)
plugins.effective_dtype = lambda name, device: torch.float16
torch.manual_seed(0)
model = nn.Linear(3, 2)
fields = {"plugin": "fsdp", "dtype": "fp16", "grad_clip": 1.0}
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
engine = plugins.Engine(
    model, optimizer, workers=Workers(rank, 2, torch.device("cpu")), **fields
)
before = whole(model.weight).clone()
with engine.autocast():
    y = engine.model(torch.ones(1, 3)).float()
engine.backward((y * torch.tensor([1e-3, 1e4])).sum())  # row 1, of rank 1 alone, overflows
engine.update()
found = [engine.overflowed, torch.equal(whole(model.weight), before)]
scaler = GradScaler("cpu")
scaler.scale(torch.ones(()))
zero = scaling.ZeroScale(scaler, zero_optimizer([torch.tensor([float("inf") if rank else 1.0])]))
found.append(zero.should_skip_step())
scaler.update()
print(*found, engine.state_dict()["loss_scale"]["scale"], scaler.get_scale())
"""


@pytest.mark.slow
def test_all_workers_leave_out_a_step_that_overflows_on_one(tmp_path):
    words = [sys.executable, "-c", PAIR]
    pair = [
        subprocess.Popen(
            [*words, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0].strip() for process in pair]
    assert said == ["True True True 32768.0 32768.0"] * 2
