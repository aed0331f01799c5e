import pytest
import torch

from opensora.buckets.bucket import TokenGrid
from opensora.buckets.bucket_config import parse_bucket_config
from opensora.core.errors import ConfigError
from opensora.training.fit.step_timer import StepTimer, require_parts

CONFIG = {
    "model": {
        "type": "STDiT2",
        "hidden_size": 24,
        "depth": 1,
        "num_heads": 2,
        "caption_channels": 8,
        "model_max_length": 4,
    },
    "scheduler": {"type": "rflow"},
    "optimizer": {"type": "adamw", "lr": 1e-3},
    "dtype": "fp32",
    "mask_ratios": {"mask_no": 0.5, "mask_image_head": 0.5},
}
GRID = TokenGrid((1, 4, 4))
RULE = parse_bucket_config({"32px": {8: (1.0, 2)}})[0]


def timer(config=CONFIG, **options) -> StepTimer:
    return StepTimer(config, GRID, torch.device("cpu"), repeats=2, **options)


def test_a_step_is_timed_and_trains_the_model():
    clock = timer()
    before = {name: p.detach().clone() for name, p in clock.model.named_parameters()}
    seconds = clock(RULE, 2)
    assert seconds is not None
    assert seconds > 0
    changed = [name for name, p in clock.model.named_parameters() if not p.equal(before[name])]
    assert "final_layer.linear.weight" in changed
    assert all(p.grad is None for p in clock.model.parameters())


def test_the_median_counts_and_the_warm_up_does_not(monkeypatch):
    clock = StepTimer(CONFIG, GRID, torch.device("cpu"), warmup=2, repeats=3)
    seconds = iter([9.0, 8.0, 3.0, 1.0, 2.0])
    monkeypatch.setattr(clock, "_step", lambda batch: next(seconds))
    assert clock(RULE, 2) == 2.0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried ..."),
    ],
)
def test_too_little_memory_is_an_answer(monkeypatch, error):
    clock = timer()

    def fail(batch):
        raise error

    monkeypatch.setattr(clock, "_step", fail)
    assert clock(RULE, 2) is None


def test_another_error_is_not_hidden(monkeypatch):
    clock = timer()

    def fail(batch):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(clock, "_step", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        clock(RULE, 2)


def test_the_shape_with_the_most_tokens_is_measured():
    rule = parse_bucket_config({"240p": {16: (1.0, 2)}})[0]
    shape = timer().largest_shape(rule)
    tokens = {key: GRID.tokens(type(shape)("240p", 16, key)) for key in ("0.38", "1.00", "1.89")}
    assert GRID.tokens(shape) >= max(tokens.values())


@pytest.mark.parametrize(
    "model",
    [
        {"type": "DiT", "caption_channels": 8},
        {"type": "Latte", "condition": "label_5"},
        {"type": "PixArtMS", "caption_channels": 8, "model_max_length": 4},
    ],
)
def test_other_families_are_timed(model):
    fields = {"hidden_size": 24, "depth": 2, "num_heads": 2, **model}
    config = {**CONFIG, "model": fields, "mask_ratios": None, "grad_checkpoint": True}
    assert timer(config)(RULE, 2) is not None


def test_a_config_without_model_or_with_a_wrong_one_is_refused():
    with pytest.raises(ConfigError, match="the config has no model"):
        require_parts({"scheduler": CONFIG["scheduler"]})
    with pytest.raises(ConfigError, match="the config has no scheduler"):
        require_parts({"model": CONFIG["model"]})
    with pytest.raises(ConfigError, match="model: hidden_size 25"):
        timer({**CONFIG, "model": {**CONFIG["model"], "hidden_size": 25}})
