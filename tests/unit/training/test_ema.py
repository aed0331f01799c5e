import pytest
import torch
from torch import nn

from opensora.training.ema import Ema


def one_weight(value: float) -> nn.Linear:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(value)
        model.bias.zero_()
    return model


def set_weight(model: nn.Linear, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


def test_early_steps_follow_the_weights_and_late_ones_keep_the_decay():
    model = one_weight(1.0)
    ema = Ema(dict(model.named_parameters()), decay=0.9)
    set_weight(model, 2.0)
    ema.update(0)  # keeps 1/10: 0.1 * 1 + 0.9 * 2
    assert ema.average["weight"].item() == pytest.approx(1.9)
    set_weight(model, 3.0)
    ema.update(8)  # keeps 9/18: (1.9 + 3) / 2
    assert ema.average["weight"].item() == pytest.approx(2.45)
    ema.update(10_000)  # keeps 0.9: 0.9 * 2.45 + 0.1 * 3
    assert ema.average["weight"].item() == pytest.approx(2.505)


def test_the_weights_are_not_touched():
    model = one_weight(1.0)
    ema = Ema({"weight": model.weight}, decay=0.5)
    set_weight(model, 2.0)
    ema.update(100)
    assert model.weight.item() == 2.0
    assert ema.average["weight"].item() == pytest.approx(1.5)
    assert list(ema.average) == ["weight"]
