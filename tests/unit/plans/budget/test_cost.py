from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opensora.buckets.bucket import Bucket, TokenGrid
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import ConfigError
from opensora.models.lora.adapters import add_adapters
from opensora.models.lora.settings import LoraSettings
from opensora.plans.budget.cost import ModelCost, model_cost, sample_cost_of

LATENT, BATCH, WORDS, WIDTH = (6, 10, 14), 2, 20, 64
TEXT = {"caption_channels": WIDTH, "model_max_length": WORDS}
POOLED = {"caption_channels": WIDTH}
CASES = {
    "STDiT": TEXT,
    "STDiT2": {**TEXT, "qk_norm": True},
    "STDiT3": TEXT,
    "PixArt": TEXT,
    "PixArtMS": TEXT,
    "DiT": POOLED,
    "Latte": {**POOLED, "depth": 3},
    "DiT label": {"condition": "label_10"},
}


def model_of(name: str, **fields):
    config = {"type": name.split()[0], "hidden_size": 96, "depth": 2, "num_heads": 4}
    torch.manual_seed(0)
    return build_module({**config, **CASES[name], **fields}, MODELS).train()


def counted(model, name: str) -> tuple[int, int]:
    """Operations of the forward pass, and of forward and backward, as torch counts them."""
    if name == "DiT label":
        y = torch.randint(0, 10, (BATCH,))
    else:
        y = torch.randn(BATCH, 1, WORDS if "model_max_length" in CASES[name] else 1, WIDTH)
    sizes = {"num_frames": 6.0, "height": 80.0, "width": 112.0, "ar": 0.7, "fps": 8.0}
    conditions = {key: torch.full((BATCH,), value) for key, value in sizes.items()}
    x = torch.randn(BATCH, 4, *LATENT)
    # the fused kernels of a CPU are not counted, plain products are
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = model(x, torch.full((BATCH,), 500.0), y, **conditions)
        forward = counter.get_total_flops()
        out.sum().backward()
        return forward, counter.get_total_flops()


@pytest.mark.parametrize("name", CASES)
def test_operations_are_those_that_torch_counts(name):
    model = model_of(name)
    forward, both = counted(model, name)
    cost, grid = ModelCost.of_model(model), model.grid_size(LATENT)
    assert BATCH * cost.forward_flops(grid) == pytest.approx(forward, rel=0.01)
    assert BATCH * cost.training_flops(grid) == pytest.approx(both, rel=0.01)
    model.set_grad_checkpoint()
    recomputed = BATCH * cost.training_flops(grid, grad_checkpoint=True)
    assert recomputed == pytest.approx(counted(model, name)[1], rel=0.01)


LORA = {"rank": 1, "targets": ["qkv", "q_linear", "kv_linear"], "modules_to_save": ["t_block"]}


def test_adapters_spare_the_gradients_of_the_weights_below_them():
    model = model_of("STDiT2")
    model.requires_grad_(True)
    fields = {"type": "STDiT2", "hidden_size": 96, "depth": 2, "num_heads": 4, **CASES["STDiT2"]}
    cost, grid = model_cost({"model": fields, "lora": LORA}), model.grid_size(LATENT)
    add_adapters(model, LoraSettings.of(LORA), seed=1)
    assert cost == ModelCost.of_model(model)  # as the trainer reads them
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert cost.parameters - cost.frozen == trained
    _, both = counted(model, "STDiT2")
    assert BATCH * cost.training_flops(grid) == pytest.approx(both, rel=0.05)
    assert replace(cost, spared=0.0).training_flops(grid) > 1.3 * cost.training_flops(grid)


@pytest.mark.parametrize("name", ["STDiT2", "DiT"])
def test_other_patches_and_widths_are_counted(name):
    model = model_of(name, patch_size=(2, 4, 2), mlp_ratio=2.0, depth=3, hidden_size=48)
    forward, _ = counted(model, name)
    flops = BATCH * ModelCost.of_model(model).forward_flops(model.grid_size(LATENT))
    assert flops == pytest.approx(forward, rel=0.01)


def test_a_large_model_is_read_without_its_memory():
    cost = model_cost({"model": {"type": "STDiT-XL/2", "enable_flash_attn": True}})
    assert cost.parameters == 759_620_768  # as published
    assert (cost.depth, cost.hidden_size, cost.text_tokens) == (28, 1152, 120)
    assert (
        model_cost(
            {"model": {"type": "STDiT-XL/2"}, "text_encoder": {"model_max_length": 200}}
        ).text_tokens
        == 200
    )


def test_twice_the_frames_cost_what_each_attention_asks_for():
    # beyond twice the cost: 4 D per pair of tokens that sees each other only now
    places, width, depth = 10_000, 96, 2
    for name, pairs in (("DiT", 2 * places**2), ("STDiT", 2 * places)):
        cost = ModelCost.of_model(model_of(name))
        one, two = (cost.forward_flops((t, 100, 100)) for t in (1, 2))
        fixed = 2 * one - two + 4 * pairs * width * depth  # what does not grow: text, timestep
        assert 0 < fixed < 0.001 * one


def test_the_cost_of_a_sample_follows_its_tokens():
    config = {"model": {"type": "STDiT2", "hidden_size": 96, "depth": 2, "num_heads": 4}}
    assert sample_cost_of(config, (1, 8, 8)) is None
    cost = sample_cost_of({**config, "balance": "cost"}, (1, 8, 8))
    assert cost is not None
    bucket = Bucket("256", 16, "1.0")
    wanted = model_cost(config).forward_flops(TokenGrid().token_grid(bucket))
    assert cost(bucket) == wanted
    assert cost(Bucket("512", 16, "1.0")) > 4 * wanted  # attention grows faster than the tokens


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "the config has no model"),
        ({"model": {"type": "STDiT9"}}, "unknown type"),
        ({"model": {"type": "STDiT2", "wdith": 3}}, "unknown field 'wdith'"),
        ({"model": {"type": "STDiT2", "hidden_size": 100}}, "model: hidden_size 100"),
        ({"model": {"type": "classes", "num_classes": 3}}, "no diffusion transformer"),
    ],
)
def test_a_model_that_can_not_be_read_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        model_cost(config)
