"""What a line says of the pace: MFU is operations over what the device could have done."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from opensora.acceleration.workers import Workers
from opensora.config.registry import MODELS, build_module
from opensora.plans.budget.cost import ModelCost
from opensora.plans.budget.machine import peak_of_device
from opensora.training.watched import pace
from opensora.training.watched.pace import Clock, Work

ALONE = Workers(0, 1, torch.device("cpu"))
MODEL = {"type": "STDiT2", "hidden_size": 48, "depth": 2, "num_heads": 4}


def work_of(model: torch.nn.Module) -> Work:
    engine = SimpleNamespace(module=model, dtype=torch.bfloat16)
    rest = {"source": SimpleNamespace(max_length=None), "config": SimpleNamespace(lora=None)}
    run: Any = SimpleNamespace(engine=engine, workers=ALONE, **rest)
    return Work(run)


def test_weights_that_are_not_trained_cost_one_product_less() -> None:
    model = build_module(MODEL, MODELS)
    shape = torch.Size((2, 4, 4, 8, 8))  # 4 frames of 4 x 4 tokens
    tokens, flops = work_of(model).of(shape)
    forward = ModelCost.of_model(model).forward_flops((4, 4, 4))
    assert tokens == 2 * 4 * 16
    assert flops == pytest.approx(2 * 3 * forward, rel=0.05)  # tables are not trained
    model.blocks.requires_grad_(False)
    _, fewer = work_of(model).of(shape)
    assert 2 * 2 * forward < fewer < flops


def test_a_line_has_the_share_of_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((0.0, 0.0, 4.0, 4.0))
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(now))
    clock = Clock(0.0)
    clock.took(tokens=100, flops=6e12)
    clock.took(tokens=60, flops=2e12)
    clock.count(8)
    line = clock.line(ALONE, peak=4e12)
    assert (line["mfu"], line["tokens_per_s"], line["samples_per_s"]) == (0.5, 40.0, 2.0)


def test_a_peak_is_that_of_a_known_device() -> None:
    assert peak_of_device("NVIDIA H200") == pytest.approx(989e12, rel=0.01)
    assert peak_of_device("cpu") is None
