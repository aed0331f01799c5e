"""Attention by backends, the table of choices and the probe that fills it."""

import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.models.layers.kernels import probe, table
from opensora.models.layers.kernels.choice import Kernels
from opensora.models.layers.kernels.probe import Shape, choose
from opensora.models.layers.kernels.table import KernelTable, built_kernels, install
from opensora.models.layers.norms import add_gated, modulate

SIZES = {"hidden_size": 96, "depth": 3, "num_heads": 2, "caption_channels": 8}


class TestClasses:
    def test_sizes_go_to_the_nearest_by_ratio(self):
        names = [table.self_class(n) for n in (1, 16, 31, 33, 256, 400, 1100, 9000)]
        expected = (16, 16, 16, 64, 256, 256, 1024, 4096)
        assert names == [f"self {n}" for n in expected]
        assert [table.short_class(n) for n in (5, 30, 40)] == ["short 16", "short 16", "short 64"]
        assert table.norm_class(30_000, torch.bfloat16) == "norm bfloat16 32768"

    def test_what_is_not_clearly_faster_than_torch_is_not_used(self):
        assert choose({"torch": 1.0, "cudnn": 0.99, "flash": 1.2}) == "torch"
        assert choose({"torch": 1.0, "cudnn": 0.9, "flash": 0.8}) == "flash"
        assert choose({"flash": 2.0}) == "flash"  # torch's own failed
        assert choose({}) == "torch"

    def test_each_class_is_served_as_chosen(self, monkeypatch):
        served = []

        def spy(name, *, alone=False):
            return lambda *inputs: served.append(name)

        monkeypatch.setattr(table, "backend_attend", spy)
        choices = {"self 16": "cudnn", "cross": "flash", "cross masked": "efficient"}
        chosen = KernelTable(choices | {"self 256": "torch"})
        q, k, long = (torch.zeros(1, 1, n, 8) for n in (20, 7, 256))
        chosen.attend(q, q, q)
        chosen.attend(q, k, k)
        chosen.attend(q, k, k, torch.ones(1, 1, 1, 7, dtype=torch.bool))
        assert served == ["cudnn", "flash", "efficient"]
        assert torch.equal(chosen.attend(long, long, long), long)
        assert served == ["cudnn", "flash", "efficient"]

    def test_fused_norms_serve_where_they_are_faster(self):
        used = []

        def fused(*inputs):
            used.append(inputs[0].shape)
            return modulate(*inputs)

        chosen = KernelTable({"norm float32 8192": "fused"}, fused, fused)
        for rows in (8000, 40_000):
            x, shift = torch.randn(1, rows, 4), torch.zeros(1, 1, 4)
            chosen.modulate(x, shift, shift)
            chosen.add_gated(x, shift, x)
        assert used == [(1, 8000, 4)] * 2


class Slow:
    """Stands for a kernel of short sequences that could take everything."""

    def serves(self, device, dtype, tokens, head_size):
        return True

    def attend(self, *inputs):
        raise AssertionError("chosen although it is slower")


@pytest.mark.parametrize("choice", ["torch", "fused"])
@pytest.mark.parametrize("name", ["STDiT", "STDiT2", "STDiT3"])
def test_a_model_takes_its_functions_from_the_table(name, choice):
    model = build_module({"type": name, **SIZES}, MODELS)
    for part in model.modules():
        if hasattr(part, "short"):
            part.short = Slow()
    built = built_kernels(model)
    assert isinstance(built.short, Slow)
    assert (built.modulate, built.add_gated) == (modulate, add_gated)
    install(model, {"short 16": choice})
    tables = {id(part.attend.__self__) for part in model.modules() if hasattr(part, "attend")}
    tables |= {id(p.modulate.__self__) for p in model.modules() if hasattr(p, "modulate")}
    assert len(tables) == 1
    shorts = [part.short for part in model.modules() if hasattr(part, "short")]
    assert len({id(short) for short in shorts}) == 1
    serves = shorts[0].serves(torch.device("cpu"), torch.float32, 16, 32)
    assert serves == (choice == "fused")


def test_blocks_with_a_table_share_one_graph():
    torch._dynamo.reset()
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model = build_module({"type": "DiT", **SIZES}, MODELS)
    install(model, {"self 16": "cudnn"})
    for block in model.blocks:
        block.compile(backend=count, dynamic=False)
    with torch.no_grad():
        x, condition = torch.randn(1, 2, 16, 96), torch.randn(1, 96)
        for block in model.blocks:
            x = block(x, condition)
    assert len(graphs) == 1


class TestProbe:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        monkeypatch.setattr(probe, "_TOKENS", 64)
        monkeypatch.setattr(probe, "_CROSS", (2, 16, 5))
        monkeypatch.setattr(probe, "SELF_TOKENS", (16, 64))
        monkeypatch.setattr(probe, "NORM_ROWS", (8192,))

    def shape(self, **settings):
        fields = {"dtype": torch.float32, "heads": 2, "head_size": 8, "qk_norm": True}
        return Shape(device=torch.device("cpu"), rotary=True, **fields | settings)

    def test_every_class_is_timed_and_the_fastest_wins(self, monkeypatch):
        ticks = {"torch": 3.0, "cudnn": 2.0, "flash": 1.0}
        monkeypatch.setattr(
            probe, "time_runs", lambda runs, device: {n: ticks[n] for n in runs if not runs[n]()}
        )
        choices, times = probe.probe(self.shape(), ("cudnn", "flash"), Kernels(), {})
        assert choices == dict.fromkeys(("self 16", "self 64", "cross", "cross masked"), "flash")
        assert times["cross"] == ticks

    def test_what_is_fixed_is_not_timed(self):
        fixed = {"self": "cudnn", "cross": "torch"}
        choices, times = probe.probe(self.shape(), ("flash",), Kernels(), fixed)
        assert choices == {
            **{"self 16": "cudnn", "self 64": "cudnn", "cross": "torch", "cross masked": "torch"}
        }
        assert times == {}

    def test_fused_kernels_are_held_against_torch(self):
        calls = []

        class Short:
            def serves(self, device, dtype, tokens, head_size):
                return tokens == 16 and head_size == 8

            def attend(self, qkv, num_heads, q_weight, k_weight, rotation, rotate_first):
                calls.append((qkv.shape, q_weight is not None, rotation.shape))
                return qkv[..., : qkv.shape[-1] // 3] * 1

        def fused(*inputs):
            calls.append(inputs[0].dtype)
            return modulate(*inputs)

        kernels = Kernels(short=Short(), modulate=fused, add_gated=add_gated)
        choices, times = probe.probe(self.shape(), (), kernels, {})
        assert set(times["short 16"]) == set(times["norm float32 8192"]) == {"torch", "fused"}
        assert choices.keys() == times.keys()
        assert ((1, 16, 4, 48), True, (16, 4, 2)) in calls
        assert torch.float32 in calls

    def test_what_fails_is_left_out(self):
        def broken():
            raise RuntimeError("no available kernel")

        times = probe.time_runs({"a": broken, "b": lambda: None}, torch.device("cpu"))
        assert times.keys() == {"b"}
