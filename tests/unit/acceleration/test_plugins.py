import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from opensora.acceleration.optimizer import build_optimizer
from opensora.acceleration.plugins import Engine, create_plugin
from opensora.acceleration.sharded import whole_norm
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


def whole(weights):
    """Weights as plain tensors."""
    return {name: whole_norm(value) for name, value in weights.items()}


@pytest.mark.parametrize(
    ("plugin", "optimizer"),
    [("ddp", "sgd"), ("ddp", "adamw"), ("ddp", "muon"), ("fsdp", "adamw"), ("fsdp", "muon")],
)
@pytest.mark.parametrize("broken", ["gradient", "loss"])
def test_what_is_not_finite_never_reaches_the_weights(plugin, optimizer, broken):
    model = nn.Sequential(OrderedDict(blocks=nn.Linear(2, 2), head=nn.Linear(2, 1)))
    made = (
        torch.optim.SGD(model.parameters(), lr=0.1)
        if optimizer == "sgd"
        else build_optimizer(model, {"type": optimizer, "weight_decay": 0.1}, lr=0.1)
    )
    with worker_group() as workers:
        engine = Engine(*(model, made), plugin=plugin, dtype="fp32", grad_clip=1.0, workers=workers)
        engine.backward(engine.model(torch.ones(1, 2)).sum())
        engine.update()  # there are moments, which would go on moving the weights
        before = whole(copy.deepcopy(model.state_dict()))
        state = repr(made.state_dict())
        value = float("inf") if broken == "gradient" else 1.0
        engine.backward(engine.model(torch.full((1, 2), value)).sum())
        norm = engine.update(torch.tensor(broken == "gradient"))
        assert bool(norm.isfinite()) == (broken == "loss" and optimizer != "sgd")
        after = whole(model.state_dict())
        assert all(torch.equal(before[name], value) for name, value in after.items())
        assert repr(made.state_dict()) == state
        engine.backward(engine.model(torch.ones(1, 2)).sum())
        engine.update(torch.tensor(True))
        assert not torch.equal(whole(model.state_dict())["head.bias"], before["head.bias"])
