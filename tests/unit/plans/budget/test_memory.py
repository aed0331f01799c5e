"""Memory of training: what was measured on one H200, and what follows from it."""

import re

import pytest

from opensora.core.errors import ConfigError
from opensora.plans.budget.cost import ModelCost
from opensora.plans.budget.memory import (
    USABLE,
    Setup,
    advice,
    state_bytes,
    token_budget,
    token_bytes,
    training_gb,
)

STDIT, STDIT2 = (ModelCost.of({"type": name}) for name in ("STDiT-XL/2", "STDiT2-XL/2"))
BATCH, TOKENS = 8, 16 * 16 * 16  # 16 frames of 256 x 256, in patches of 16 pixels
WITHOUT_STATES = 10  # bytes of a weight, its gradient and its copy in bf16


@pytest.mark.parametrize(
    ("cost", "measured"), [(STDIT, 66.8), (STDIT, 66.6), (STDIT2, 75.0), (STDIT2, 71.0)]
)
def test_forward_and_backward_take_what_was_measured(cost: ModelCost, measured: float) -> None:
    """Eager and with compiled blocks, bf16; no optimizer and no moving average."""
    found = cost.parameters * WITHOUT_STATES + BATCH * TOKENS * token_bytes(cost, Setup())
    assert found / 1e9 == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(
    ("tokens", "checkpoint", "measured"),
    [(32_768, False, 66.9), (32_768, True, 9.5), (65_536, True, 14.2)],
)
def test_the_reference_takes_what_was_measured(
    tokens: int, checkpoint: bool, measured: float
) -> None:
    """Its weights, gradients and moments are bf16, and so are the inputs of its blocks."""
    kept = token_bytes(STDIT, Setup(grad_checkpoint=checkpoint))
    if checkpoint:
        kept -= STDIT.depth * 2 * STDIT.hidden_size
    assert (STDIT.parameters * 8 + tokens * kept) / 1e9 == pytest.approx(measured, rel=0.1)


def test_states_are_counted_by_plugin_and_ranks() -> None:
    weights = 1_000_000
    # fp32 weight, gradient, two moments and average, and a copy of the weight in bf16
    assert state_bytes(weights, Setup()) == 22 * weights
    assert state_bytes(weights, Setup(half=False)) == 20 * weights
    assert state_bytes(weights, Setup(moments=1)) == 18 * weights
    assert state_bytes(weights, Setup(gpus=8)) == state_bytes(weights, Setup())
    # moments, average and the weights that are updated, an eighth each
    assert state_bytes(weights, Setup(plugin="zero1", gpus=8)) == (10 + 16 / 8) * weights
    assert state_bytes(weights, Setup(plugin="zero2", gpus=8)) == (6 + 20 / 8) * weights
    # below adapters weights are only read
    assert state_bytes(weights, Setup(frozen=900_000)) == 22 * 100_000 + 6 * 900_000
    shared = Setup(plugin="fsdp", gpus=8, frozen=weights)
    assert state_bytes(weights, shared) == (2 + 4 / 8) * weights
    # everything but the copies of autocast
    assert state_bytes(weights, Setup(plugin="fsdp", gpus=8)) == (2 + 20 / 8) * weights


def test_a_config_is_read() -> None:
    config = {"plugin": "zero2", "dtype": "fp32", "optimizer": {"type": "muon"}}
    wanted = Setup(plugin="zero2", gpus=4, half=False, moments=1, grad_checkpoint=True)
    assert Setup.of({**config, "grad_checkpoint": True}, gpus=4) == wanted
    assert Setup.of({}, gpus=1) == Setup()


def test_the_budget_is_what_fits() -> None:
    setup = Setup(grad_checkpoint=True)
    tokens = token_budget(STDIT2, 80, setup)
    assert training_gb(STDIT2, tokens, setup) <= 80 * USABLE
    assert training_gb(STDIT2, tokens + 100, setup) > 80 * USABLE
    with pytest.raises(ConfigError, match=r"parameters and their optimizer take 16\.9"):
        token_budget(STDIT2, 8, setup)


@pytest.mark.parametrize(
    ("setup", "usable", "words"),
    [
        (Setup(), 72, r"grad_checkpoint=True makes it \d\d\.\d GB"),
        (Setup(gpus=8), 70, r"grad_checkpoint=True makes it"),
        (Setup(gpus=8, grad_checkpoint=True), 18, r"plugin='zero2' makes it"),
        (Setup(gpus=8), 16, r"plugin='zero2' and grad_checkpoint=True makes it"),
        (Setup(gpus=8), 10, r"plugin='fsdp' and grad_checkpoint=True makes it"),
        (Setup(gpus=1, grad_checkpoint=True), 19, r"a batch of [1-7] with grad_checkpoint=True"),
        (Setup(), 5, r"a GPU with more memory"),
    ],
)
def test_advice_is_what_fits_and_costs_least(setup: Setup, usable: float, words: str) -> None:
    assert training_gb(STDIT, BATCH * TOKENS, setup) > usable
    assert re.match(words, advice(STDIT, BATCH, TOKENS, setup, usable))
