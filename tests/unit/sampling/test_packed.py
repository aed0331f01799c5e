"""Packed products of blocks give the numbers of torch's, where a processor has them."""

import platform

import numpy as np
import pytest
import torch
from diffusers.models.activations import GELU
from torch import nn

from opensora.models.layers.blocks import Mlp
from opensora.models.layers.packed import PackedLinear, pack_blocks, packs
from opensora.sampling.batch import sample_batch
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.prompts import Prompt, requests
from opensora.sampling.settings import SamplingSettings

CPU = torch.device("cpu")
FLOAT = torch.float32
needs_packing = pytest.mark.skipif(not packs(CPU, FLOAT), reason="no oneDNN for this processor")


class Blocks(nn.Module):
    """A model of one block with every kind of layer that is packed."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.before = nn.Linear(12, 12)
        block = nn.Module()
        block.mlp, block.act, block.out = Mlp(12, 24), GELU(12, 20, "tanh", bias), nn.Linear(20, 12)
        block.exact = GELU(12, 20)
        block.list = nn.ModuleList([nn.Linear(20, 6, bias=bias), nn.Dropout(0.0)])
        self.all_blocks = nn.ModuleList([block])

    def forward(self, x):
        block = self.all_blocks[0]
        x = block.mlp(self.before(x))
        return block.out(block.act(x)), block.list[0](block.exact(x))


@needs_packing
@pytest.mark.parametrize("dtype", [FLOAT, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_the_numbers_are_those_of_torch(dtype, bias):
    if not packs(CPU, dtype):
        pytest.skip("no bfloat16 products")
    torch.manual_seed(0)
    model = Blocks(bias).to(dtype).eval()
    inputs = [torch.randn(7, 12), torch.randn(2, 12, 5).transpose(1, 2), torch.randn(1, 3, 5, 12)]
    expected = [model(x.to(dtype)) for x in inputs]
    pack_blocks(model, CPU, dtype)
    close = 1e-5 if dtype == FLOAT else 0.03
    for x, pair in zip(inputs, expected, strict=True):
        for found, wanted in zip(model(x.to(dtype)), pair, strict=True):
            torch.testing.assert_close(found, wanted, atol=close, rtol=close)


@needs_packing
def test_layers_of_blocks_are_packed_and_those_around_stay():
    model = Blocks()
    pack_blocks(model, CPU, FLOAT)
    block = model.all_blocks[0]
    assert type(model.before) is nn.Linear
    packed = [block.mlp[0], block.mlp[1], block.act, block.out, block.exact.proj, block.list[0]]
    assert [type(layer) for layer in packed] == [PackedLinear] * 6
    assert [name for name, _ in block.named_parameters()] == [], "nothing is held twice"


def test_what_a_processor_lacks_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    model = Blocks()
    pack_blocks(model, CPU, FLOAT)
    assert type(model.all_blocks[0].out) is nn.Linear
    monkeypatch.undo()
    assert not packs(torch.device("cuda"), FLOAT)
    assert not packs(CPU, torch.float64)


@needs_packing
def test_sampling_packs_unless_it_compiles(config):
    pipeline = load_pipeline(config, SamplingSettings.from_config(config), "cpu")
    kinds = {type(part) for block in pipeline.model.all_blocks for part in block.modules()}
    assert PackedLinear in kinds
    assert nn.Linear not in kinds


@needs_packing
def test_samples_are_those_of_plain_products_within_one_level(config, monkeypatch):
    settings, wanted = SamplingSettings.from_config(config), requests([Prompt("a"), Prompt("b")], 1)
    packed = sample_batch(load_pipeline(config, settings, "cpu"), wanted, settings)
    monkeypatch.setattr("opensora.sampling.pipeline.pack_blocks", lambda *given: None)
    plain = sample_batch(load_pipeline(config, settings, "cpu"), wanted, settings)
    for one, other in zip(packed, plain, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
