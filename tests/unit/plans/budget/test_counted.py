"""Costs of open models: against the same pass with values, counted by torch itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opensora.buckets.bucket import Bucket, TokenGrid
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError, ConfigError
from opensora.models.lora.adapters import add_adapters
from opensora.models.lora.settings import LoraSettings
from opensora.plans.budget.cost import live_cost, model_cost, sample_cost_of
from opensora.plans.budget.counted import CountedCost
from opensora.plans.budget.memory import Setup, token_bytes

WORDS, GRID = 12, (3, 4, 6)
TINY = {"_class_name": "WanTransformer3DModel", "num_attention_heads": 2, "attention_head_dim": 12}
TINY |= {"in_channels": 4, "out_channels": 4, "text_dim": 16, "freq_dim": 16, "ffn_dim": 32}
TINY |= {"num_layers": 3}
LARGE = {"_class_name": "WanTransformer3DModel", "num_attention_heads": 12, "num_layers": 30}
LARGE |= {"attention_head_dim": 128, "ffn_dim": 8960, "text_dim": 4096}
LORA = {"rank": 2, "targets": ["attn1.to_q", "attn1.to_v", "attn2.to_out.0"]}


def config(fields: dict[str, Any], words: int = WORDS, **more: Any) -> dict[str, Any]:
    model = {"type": "diffusers", "architecture": fields}
    return {"model": model, "text_encoder": {"model_max_length": words}, **more}


def built(lora: dict[str, Any] | None = None) -> Any:
    torch.manual_seed(0)
    model = build_module({"type": "diffusers", "architecture": TINY}, MODELS)
    if lora:
        add_adapters(model, LoraSettings.of(lora), seed=0)
    return model


def inputs(grid: tuple[int, int, int] = GRID) -> tuple[torch.Tensor, ...]:
    t, h, w = grid
    return torch.randn(1, 4, t, 2 * h, 2 * w), torch.tensor([5.0]), torch.randn(1, 1, WORDS, 16)


def true_flops(model: Any) -> tuple[int, int]:
    # the fused kernels of a CPU are not counted by torch, plain products are
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = model(*inputs())
        forward = counter.get_total_flops()
        out.sum().backward()
        return forward, counter.get_total_flops()


def test_operations_are_those_of_a_pass_with_values() -> None:
    cost = model_cost(config(TINY))
    assert isinstance(cost, CountedCost)
    forward, both = true_flops(built())
    assert cost.forward_flops(GRID) == forward
    assert cost.training_flops(GRID) == both
    assert cost.training_flops(GRID, grad_checkpoint=True) == both + forward


def test_adapters_are_counted_and_spare_the_gradients_below_them() -> None:
    cost, model = model_cost(config(TINY, lora=LORA)), built(LORA)
    assert (cost.parameters, cost.frozen) == (
        sum(p.numel() for p in model.parameters()),
        sum(p.numel() for p in model.parameters() if not p.requires_grad),
    )
    forward, both = true_flops(model)
    assert cost.forward_flops(GRID) == forward
    # fused attention computes all its gradients, plain products those that are asked for
    assert both <= cost.training_flops(GRID) < 1.06 * both
    assert cost.training_flops(GRID) < model_cost(config(TINY)).training_flops(GRID)


def test_memory_is_what_a_pass_with_values_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built()
    # as on a GPU, of which forecasts are: a CPU keeps less
    monkeypatch.setattr(model, "_is_eager_on_cpu", lambda x: False)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def kept(grid: tuple[int, int, int]) -> int:
        found: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(*inputs(grid))
        return sum(found.values())

    one, two = kept((2, 16, 16)), kept((4, 16, 16))
    fp32 = Setup(half=False)
    found = token_bytes(model_cost(config(TINY)), fp32)
    assert found == pytest.approx((two - one) / 512, rel=0.01)
    recomputed = token_bytes(model_cost(config(TINY)), Setup(half=False, grad_checkpoint=True))
    # the input of each of three blocks, and at least a third of everything
    assert found / 4 < recomputed < found / 2


def test_wan_1_3b_is_counted_without_its_memory() -> None:
    cost = model_cost(config(LARGE, words=512))
    assert cost.parameters == 1_418_996_800  # as diffusers counts its class with these fields
    width, text, tokens = 1536, 512, 21 * 30 * 52  # of 81 frames of 480 x 832
    block = 8 * tokens * width**2 + 4 * (tokens + text) * width**2 + 4 * tokens * width * 8960
    block += 4 * tokens * width * (tokens + text)
    assert cost.forward_flops((21, 30, 52)) == pytest.approx(30 * block, rel=1e-3)
    assert cost.training_flops((21, 30, 52)) == pytest.approx(90 * block, rel=1e-2)


def test_a_model_in_training_is_counted_beside_itself() -> None:
    model = built(LORA)
    before = [(name, id(p)) for name, p in model.named_parameters()]
    cost = live_cost(model, WORDS, LORA)
    asked = model_cost(config(TINY, lora=LORA))
    assert cost.training_flops(GRID) == asked.training_flops(GRID)
    assert [(name, id(p)) for name, p in model.named_parameters()] == before


def test_a_plan_is_balanced_by_it() -> None:
    cost = sample_cost_of(config(TINY, balance="cost"), (4, 8, 8))
    assert cost is not None
    bucket, grid = Bucket("480x832", 17, "0.58"), TokenGrid((4, 8, 8))
    wanted = model_cost(config(TINY)).forward_flops(grid.token_grid(bucket))
    assert cost(bucket) == wanted


def test_folders_are_read_without_their_weights(tmp_path: Path) -> None:
    built().save_pretrained(tmp_path)
    next(tmp_path.glob("*.safetensors")).unlink()
    fields = {"type": "diffusers", "from_pretrained": str(tmp_path)}
    named = model_cost({**config(TINY), "model": fields})
    assert named.forward_flops(GRID) == model_cost(config(TINY)).forward_flops(GRID)
    with pytest.raises(CheckpointError, match="neither a folder on this disk nor a hub name"):
        model_cost({"model": {"type": "diffusers", "from_pretrained": "./none"}})


def test_a_model_that_follows_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from opensora.models.open.wan import Wan

    plain = Wan.forward

    def forward(self: Any, x: torch.Tensor, timestep: torch.Tensor, y: torch.Tensor, **_: Any):
        return plain(self, x, timestep, y[:, :, y[0, 0, :, 0] > 0])

    monkeypatch.setattr(Wan, "forward", forward)
    with pytest.raises(ConfigError, match="can not be counted without values"):
        model_cost(config(TINY)).forward_flops(GRID)
