import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from opensora.acceleration import plugins
from opensora.acceleration.optimizer import build_optimizer
from opensora.acceleration.plugins import Engine, create_plugin
from opensora.acceleration.workers import worker_group
from opensora.core.errors import ConfigError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zero1", "'zero1' needs a GPU"),
        ("zero2", "'zero2' needs a GPU"),
        ("gemini", "expected one of ddp, zero1, zero2, fsdp"),
    ],
)
def test_a_plugin_that_can_not_run_here_is_refused_in_one_sentence(name, words):
    with pytest.raises(ConfigError, match=words) as error:
        create_plugin(name, grad_clip=1.0, device=CPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("grad_clip", [None, 0.5, 1e6])
def test_a_step_through_the_engine_equals_a_plain_one(grad_clip):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 2))
    plain = copy.deepcopy(model)
    x = torch.randn(4, 3)
    # by hand: clip by scaling all gradients with max_norm / norm, then a step of plain SGD
    plain(x).square().sum().backward()
    gradients = [p.grad for p in plain.parameters()]
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    factor = min(1.0, (grad_clip or 1e9) / norm.item())
    with torch.no_grad():
        for p, g in zip(plain.parameters(), gradients, strict=True):
            p -= 0.1 * factor * g
    with worker_group() as workers:
        engine = Engine(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            plugin="ddp",
            dtype="fp32",
            grad_clip=grad_clip,
            workers=workers,
        )
        with engine.autocast():
            loss = engine.model(x).square().sum()
        engine.backward(loss)
        assert engine.update().item() == pytest.approx(norm.item(), rel=1e-5)
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        assert p.grad is None or not p.grad.any()


@pytest.mark.parametrize(
    ("plugin", "optimizer"), [("ddp", "sgd"), ("ddp", "adamw"), ("ddp", "muon"), ("fsdp", "adamw")]
)
@pytest.mark.parametrize("broken", ["gradient", "loss"])
def test_what_is_not_finite_never_reaches_the_weights(plugin, optimizer, broken):
    model = nn.Sequential(OrderedDict(blocks=nn.Linear(2, 2), head=nn.Linear(2, 1)))
    made = (
        torch.optim.SGD(model.parameters(), lr=0.1)
        if optimizer == "sgd"
        else build_optimizer(model, {"type": optimizer, "weight_decay": 0.1}, lr=0.1, plugin=plugin)
    )
    with worker_group() as workers:
        engine = Engine(*(model, made), plugin=plugin, dtype="fp32", grad_clip=1.0, workers=workers)
        engine.backward(engine.model(torch.ones(1, 2)).sum())
        engine.update()  # there are moments, which would go on moving the weights
        before = engine.whole(copy.deepcopy(model.state_dict()))
        state = repr(engine.state_dict())
        value = float("inf") if broken == "gradient" else 1.0
        engine.backward(engine.model(torch.full((1, 2), value)).sum())
        norm = engine.update(torch.tensor(broken == "gradient"))
        assert bool(norm.isfinite()) == (broken == "loss" and optimizer != "sgd")
        after = engine.whole(model.state_dict())
        assert all(torch.equal(before[name], value) for name, value in after.items())
        assert repr(engine.state_dict()) == state
        engine.backward(engine.model(torch.ones(1, 2)).sum())
        engine.update(torch.tensor(True))
        assert not torch.equal(engine.whole(model.state_dict())["head.bias"], before["head.bias"])


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


def test_fp16_scales_the_loss_and_a_gradient_too_small_for_it_survives(half_engine):
    engine = half_engine()
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
    torch.testing.assert_close(
        engine.module.weight.detach(), torch.full((2, 3), -1e-9), rtol=1e-2, atol=0
    )


def test_an_fp16_step_that_overflows_is_left_out_and_the_scale_halved(half_engine):
    engine = half_engine()
    before = engine.module.weight.detach().clone()
    scale = engine.state_dict()["loss_scale"]["scale"]
    with engine.autocast():
        loss = engine.model(torch.ones(1, 3)).float().sum() * 1e4  # times 65536: beyond fp16
    engine.backward(loss)
    assert not engine.update().isfinite()
    assert engine.overflowed
    assert torch.equal(engine.module.weight, before)
    state = engine.state_dict()
    assert state["loss_scale"]["scale"] == scale / 2
    again = half_engine()
    again.load_state_dict(state)
    assert again.state_dict()["loss_scale"] == state["loss_scale"]
    assert "loss_scale" in state  # loading leaves it whole
    with engine.autocast():
        loss = engine.model(torch.ones(1, 3)).float().sum() * 0.1
    engine.backward(loss)
    assert engine.update().isfinite()
    assert not engine.overflowed


def test_fp16_and_zero_do_not_go_together(half_engine):
    with pytest.raises(ConfigError, match="'fp16' needs plugin 'ddp'"):
        half_engine("zero2")
