import copy
import math

import pytest
import torch
from torch import nn

from opensora.acceleration.muon import Muon
from opensora.acceleration.optimizer import LrSchedule, block_matrices, build_optimizer
from opensora.core.errors import ConfigError


class Tiny(nn.Module):
    """Like a transformer: an embedder, blocks with a table and a norm, a final layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedder = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"mlp": nn.Linear(4, 6), "norm": nn.LayerNorm(6)}) for _ in range(2)
        )
        self.table = nn.Parameter(torch.randn(2, 4))
        self.final = nn.Linear(4, 3)


@pytest.fixture
def model() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


def test_muon_takes_the_matrices_of_the_blocks_and_nothing_else(model):
    names = {id(p): name for name, p in model.named_parameters()}
    taken = [names[id(p)] for p in block_matrices(model)]
    assert taken == ["blocks.0.mlp.weight", "blocks.1.mlp.weight"]


def test_muon_with_adamw_steps_like_the_two_optimizers_apart(model):
    apart = copy.deepcopy(model)
    together = build_optimizer(model, {"type": "muon", "weight_decay": 0.1}, lr=None)
    matrices = block_matrices(apart)
    others = [p for p in apart.parameters() if not any(p is m for m in matrices)]
    muon = Muon(matrices, lr=0.02, weight_decay=0.1)
    adamw = torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.0)
    for seed in range(3):
        give_gradients(model, seed)
        give_gradients(apart, seed)
        together.step()
        muon.step()
        adamw.step()
    for a, b in zip(model.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_a_restored_optimizer_goes_on_bit_for_bit(model, kind, tmp_path):
    straight = build_optimizer(model, {"type": kind}, lr=None)
    give_gradients(model, 0)
    straight.step()
    other = copy.deepcopy(model)
    restored = build_optimizer(other, {"type": kind}, lr=None)
    torch.save(straight.state_dict(), tmp_path / "state.pt")
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for optimizer, weights in ((straight, model), (restored, other)):
        for group in optimizer.param_groups:
            group["lr"] *= 0.5  # groups must still reach both halves after loading
        give_gradients(weights, 1)
        optimizer.step()
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_lr_zero_leaves_all_weights_where_they_are(model):
    optimizer = build_optimizer(model, {"type": "muon"}, lr=None)
    before = copy.deepcopy(model.state_dict())
    LrSchedule(0, "linear", 10).apply(optimizer, 10)
    give_gradients(model, 0)
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"type": "hybrid-adam"}, "expected one of adamw, muon"),
        ({"type": "adamw", "momentum": 0.9}, "adamw has no field 'momentum'"),
        ({"type": ["adamw"]}, "optimizer.type is "),
        ({"betas": 0.9}, "optimizer.betas is 0.9; expected 2 values, each a number"),
        ({"betas": [0.9, 1.0]}, "expected numbers in "),
        ({"type": "muon", "momentum": 1}, "optimizer.momentum is 1; expected numbers in "),
        ({"weight_decay": -0.1}, "optimizer.weight_decay is -0.1; expected a number of at least 0"),
        ({"type": "muon", "adamw_lr": 0}, "optimizer.adamw_lr is 0; expected a number above 0"),
    ],
)
def test_an_optimizer_that_can_not_be_is_refused(model, config, words):
    with pytest.raises(ConfigError, match=words):
        build_optimizer(model, config, lr=None)


def test_muon_without_blocks_is_refused():
    with pytest.raises(ConfigError, match="no linear layer"):
        build_optimizer(nn.Linear(2, 2), {"type": "muon"}, lr=None)


@pytest.mark.parametrize(
    ("decay", "step", "expected"),
    [
        (None, 0, 0.25),  # (0 + 1) / 4
        (None, 3, 1.0),
        (None, 99, 1.0),
        ("linear", 4, 1.0),  # 20 steps, 16 after the warm-up
        ("linear", 8, 0.75),
        ("linear", 20, 0.0),
        ("cosine", 4, 1.0),
        ("cosine", 12, 0.5),
        ("cosine", 8, 0.5 * (1 + math.cos(math.pi / 4))),
    ],
)
def test_learning_rate_rises_and_falls(decay, step, expected):
    assert LrSchedule(4, decay, 20).factor(step) == pytest.approx(expected)


def test_the_schedule_scales_each_group_from_its_own_rate(model):
    optimizer = build_optimizer(model, {"type": "muon"}, lr=None)
    schedule = LrSchedule(4, None, 20)
    assert schedule.apply(optimizer, 0) == pytest.approx(0.005)
    assert schedule.apply(optimizer, 1) == pytest.approx(0.01)  # not compounded
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 1e-3])
