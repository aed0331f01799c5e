"""The kernels of short attention in Triton's CPU mode, which must be on before Triton is imported.

Run by `test_kernels.py` in a process of its own. bfloat16 is left out: the mode's products of it
are wrong.
"""

import os

import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.models.layers.attention import Attention
from opensora.models.layers.kernels.choice import Kernels
from opensora.models.layers.positions import rotation_table
from opensora.schedulers.common import size_conditions
from tests.unit.models.layers.kernels.short_reference import SETTINGS, SHAPES, plain, run

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs TRITON_INTERPRET=1", allow_module_level=True)

from opensora.models.layers.kernels import short, short_kernel
from opensora.models.layers.kernels.short import short_attention
from opensora.models.layers.kernels.short_kernel import ShortKernel


def check(found, exact, dtype):
    bound = 5e-6 if dtype == torch.float32 else 2e-3  # of the largest value
    for a, b in zip(found, exact, strict=True):
        assert a.isfinite().all()
        assert (a - b).abs().max() <= bound * b.abs().max()


IN_FLOAT32 = [(shape, settings, torch.float32) for shape in SHAPES for settings in SETTINGS]
# each shape and each setting once: it is the products that are others, not the paths to them
IN_FLOAT16 = [(shape, SETTINGS[k % len(SETTINGS)], torch.float16) for k, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(("shape", "settings", "dtype"), [*IN_FLOAT32, *IN_FLOAT16])
def test_output_and_gradients_are_those_of_the_formula(shape, settings, dtype):
    found = run(short_attention, shape, dtype, **settings)
    assert found[0].dtype == found[1].dtype == dtype
    check(found, run(plain, shape, dtype, **settings), dtype)


def test_lengths_around_those_of_tiles():
    for tokens in (2, 3, 7, 8, 15, 17, 21, 31, 32, 33, 48, 63):
        settings = {"norm": True, "rotate": True}
        found = run(short_attention, (1, tokens, 1, 1, 72), torch.float32, **settings)
        check(found, run(plain, (1, tokens, 1, 1, 72), torch.float32, **settings), torch.float32)


def test_large_scores_and_equal_rows_stay_finite():
    for factor in (0.0, 200.0):
        settings = {"norm": False, "rotate": False, "factor": factor}
        found = run(short_attention, (1, 5, 4, 1, 32), torch.float32, **settings)
        assert all(tensor.isfinite().all() for tensor in found)
    settings["norm"] = True  # the length of a zero vector is taken as sqrt(eps)
    found = run(short_attention, (1, 5, 4, 1, 32), torch.float32, **settings | {"factor": 0.0})
    assert all(tensor.isfinite().all() for tensor in found)


@pytest.mark.parametrize("rows", [16, 32, 64])
def test_the_size_of_a_tile_changes_nothing_but_round_off(rows):
    def with_rows(*inputs):
        return short_attention(*inputs, rows=rows)

    settings = {"norm": True, "rotate": True}
    found = run(with_rows, (2, 5, 7, 1, 40), torch.float32, **settings)
    check(found, run(plain, (2, 5, 7, 1, 40), torch.float32, **settings), torch.float32)


def test_sequences_of_a_tile_do_not_see_each_other():
    qkv = torch.randn(1, 5, 6, 3 * 32)
    changed = qkv.clone()
    changed[:, :, 1] += 1
    out, other = short_attention(qkv, 1), short_attention(changed, 1)
    assert torch.equal(out[:, :, [0, 2, 3, 4, 5]], other[:, :, [0, 2, 3, 4, 5]])
    assert not torch.equal(out[:, :, 1], other[:, :, 1])


@pytest.mark.parametrize("norm", [False, True])
def test_torch_agrees_that_it_is_an_operator(norm):
    """Shapes and types for the compiler, gradients registered, inputs left alone."""
    qkv = torch.randn(1, 5, 2, 3 * 32, requires_grad=True)
    weights = [torch.rand(32, requires_grad=True) for _ in range(2)] if norm else [None, None]
    inputs = (qkv, 1, *weights, rotation_table(5, 32), True)
    torch.library.opcheck(short_attention, inputs)


def test_the_rotary_table_is_not_trained():
    table = rotation_table(5, 32).requires_grad_()
    with pytest.raises(ValueError, match="no gradient of its rotary table"):
        short_attention(torch.randn(1, 5, 1, 96, requires_grad=True), 1, None, None, table)


@pytest.mark.parametrize(("qk_norm", "rotated"), [(False, False), (True, True)])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_layer_gives_the_same_with_and_without_it(qk_norm, rotated, compiled):
    torch.manual_seed(0)
    layer = Attention(64, 2, qk_norm=qk_norm)
    x = torch.randn(2, 5, 3, 64)
    rotation = rotation_table(5, 32) if rotated else None
    results = []
    for kernel in (None, ShortKernel()):
        layer.short = kernel
        layer.zero_grad()
        call = layer.along_time
        if compiled:
            call = torch.compile(call, backend="aot_eager", fullgraph=kernel is not None)
        out = call(x, rotation)
        same = layer(x.transpose(1, 2).reshape(6, 5, 64), rotation)
        torch.testing.assert_close(out.transpose(1, 2).reshape(6, 5, 64), same, atol=1e-5, rtol=0)
        out.square().sum().backward()
        results.append([out, *(parameter.grad for parameter in layer.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["STDiT", "STDiT2", "STDiT3", "Latte"])
def test_a_model_gives_the_same_with_and_without_it(name):
    torch.manual_seed(0)
    sizes = {"hidden_size": 96, "depth": 2, "num_heads": 2, "caption_channels": 8}
    normed = {"qk_norm": True} if name in ("STDiT2", "STDiT3") else {}
    model = build_module({"type": name, **sizes, **normed}, MODELS, input_size=(3, 4, 4)).eval()
    for parameter in model.parameters():  # gates and the last layer start at zero
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    x, y = torch.randn(2, 4, 3, 4, 4), torch.randn(2, 1, 1 if name == "Latte" else 5, 8)
    conditions = size_conditions(2, num_frames=3, height=32, width=32, fps=24)
    results = []
    for kernel in (None, Counted()):
        for part in model.modules():
            if hasattr(part, "short"):
                part.short = kernel
        model.zero_grad()
        out = model(x=x, timestep=torch.tensor([10.0, 500.0]), y=y, **conditions)
        out.square().mean().backward()
        results.append([out] + [p.grad for p in model.parameters() if p.grad is not None])
    assert kernel.calls
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max() + 1e-8
    assert {tokens for tokens, places in kernel.calls if places > 1} == (
        set() if name == "Latte" else {3}  # along time, over the places of a frame
    )


class Counted(ShortKernel):
    """Notes the tokens and places of each call."""

    def __init__(self):
        self.calls = []

    def attend(self, qkv, *others):
        self.calls.append(tuple(qkv.shape[1:3]))
        return super().attend(qkv, *others)


def test_the_probe_times_it(monkeypatch):
    from opensora.models.layers.kernels import probe
    from opensora.models.layers.kernels.adaptive import fused_add_gated, fused_modulate

    monkeypatch.setattr(probe, "_TOKENS", 32)
    monkeypatch.setattr(probe, "_CROSS", (2, 16, 5))
    for name, sizes in (("SELF_TOKENS", (16,)), ("SHORT_TOKENS", (16,)), ("NORM_ROWS", (8,))):
        monkeypatch.setattr(probe, name, sizes)
    shape = probe.Shape(torch.device("cpu"), torch.float32, 1, 32, qk_norm=True, rotary=True)
    kernels = Kernels(short=ShortKernel(), modulate=fused_modulate, add_gated=fused_add_gated)
    choices, times = probe.probe(shape, (), kernels, {})
    assert times["short 16"].keys() == times["norm float32 8192"].keys() == {"torch", "fused"}
    assert choices["short 16"] in ("torch", "fused")


def test_tiles_are_mostly_filled():
    assert [short.tile(tokens) for tokens in (1, 5, 9, 16, 17, 32, 33, 64)] == [
        *((16, 1), (16, 1), (32, 2), (16, 1), (64, 4), (32, 2), (64, 4), (64, 4))
    ]
    for tokens in range(1, 65):
        rows, _ = short.tile(tokens)
        assert rows // tokens * tokens / rows > 0.5
    assert [short.head_parts(d) for d in (32, 64, 72, 80, 96, 104, 112, 128)] == [
        *((16, 16), (32, 32), (64, 16), (64, 16), (64, 32), (64, 64), (64, 64), (64, 64))
    ]


def test_a_device_is_tried_once_and_a_failure_is_said(monkeypatch, caplog):
    short_kernel.works.cache_clear()
    with torch.inference_mode():  # as in sampling
        assert short_kernel.works(torch.device("cpu"))
    short_kernel.works.cache_clear()

    def broken(*inputs):
        raise RuntimeError("no C compiler\nlong story")

    def other(*inputs):
        return 2 * short_kernel._plain(*inputs)

    for function in (broken, other):
        monkeypatch.setattr(short_kernel, "short_attention", function)
        assert not short_kernel.works(torch.device("cpu"))
        short_kernel.works.cache_clear()
    assert "short attention runs in torch: Triton: no C compiler" in caplog.text
    assert "short attention runs in torch: Triton's result differs on cpu" in caplog.text
    assert "long story" not in caplog.text


def test_what_it_serves():
    kernel, cpu = ShortKernel(), torch.device("cpu")
    assert kernel.serves(cpu, torch.float32, 64, 72)
    assert not kernel.serves(cpu, torch.float32, 65, 72)
    assert not kernel.serves(cpu, torch.float32, 16, 12)


def test_the_benchmark_holds_it_against_torch(monkeypatch):
    from opensora.bench import kernels

    monkeypatch.setattr(kernels, "_CPU_SHARE", 1024)
    rows = kernels.measure_kernels(["short_attention"], torch.device("cpu"))
    fused = [row for row in rows if row.kernel.startswith("fused")]
    assert len(fused) == 8  # 16 tokens also in tiles of 32 and 64 rows
    assert all(row.error < 1e-5 for row in fused)
