"""The fused kernels in Triton's CPU mode, which must be on before Triton is imported.

Run by `test_kernels.py` in a process of its own.
"""

import logging
import os

import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.models.layers.norms import add_gated, modulate
from tests.unit.models.models_reference import TABLE, TENSORS, fill, tensors

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs TRITON_INTERPRET=1", allow_module_level=True)

from opensora.models.layers.kernels import adaptive as fused

SHAPES = [  # tokens, modulation
    ((2, 3, 5, 20), (2, 1, 1, 20)),  # one for a sample
    ((2, 3, 5, 20), (2, 3, 1, 20)),  # one for a frame
    ((1, 1, 1, 33), (1, 1, 1, 33)),
    ((3, 7, 9), (3, 1, 9)),
    ((3, 7, 9), (1, 1, 9)),  # one for all
    ((3, 7, 9), (3, 7, 9)),  # one for each
]


def run(function, shape, modulation, *, dtype=torch.float32, transposed=False):
    """Output and gradients; shift, scale and gate are slices, as in the blocks."""
    torch.manual_seed(1)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    table = torch.randn(*modulation[:-1], 3 * modulation[-1], dtype=dtype, requires_grad=True)
    _, second, third = table.chunk(3, dim=-1)
    if function.__name__.endswith("modulate"):
        out = function(x, second, third)
    elif transposed:
        out = function(x, second, x.detach().sin().transpose(1, 2).contiguous().transpose(1, 2))
    else:
        out = function(x, second, x.cos())
    out.backward(torch.randn(shape).to(out.dtype))
    return out.detach(), x.grad, table.grad


@pytest.mark.parametrize(("shape", "modulation"), SHAPES)
@pytest.mark.parametrize("name", ["modulate", "add_gated"])
def test_fused_kernels_give_torchs_numbers_and_gradients(name, shape, modulation):
    expected = run({"modulate": modulate, "add_gated": add_gated}[name], shape, modulation)
    got = run(getattr(fused, f"fused_{name}"), shape, modulation)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("channels", [1152, 1024, 1300])  # one warp or two, each part
def test_widths_of_real_models(channels, dtype):
    assert fused._parts(channels)["num_warps"] == (2 if channels == 1300 else 1)
    shapes, bound = ((2, 3, channels), (2, 1, channels)), 1e-5 if dtype == torch.float32 else 0.02
    for function, plain in ((fused.fused_modulate, modulate), (fused.fused_add_gated, add_gated)):
        got, expected = (run(f, *shapes, dtype=dtype) for f in (function, plain))
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a, b, atol=bound, rtol=bound)


def test_equal_rows_and_large_numbers_stay_finite():
    for value in (0.0, 3.0, 1e15):
        x = torch.full((1, 4, 48), value, requires_grad=True)
        shift = torch.ones(1, 1, 48, requires_grad=True)
        out = fused.fused_modulate(x, shift, shift)
        out.sum().backward()
        assert all(tensor.isfinite().all() for tensor in (out, x.grad, shift.grad))


def test_rows_shared_by_several_programs_are_summed(monkeypatch):
    monkeypatch.setattr(fused, "_PROGRAMS", 4)  # 26 rows: 7, so 8, for each program of a group
    for function, plain in ((fused.fused_modulate, modulate), (fused.fused_add_gated, add_gated)):
        got, expected = (run(f, (2, 1, 13, 8), (2, 1, 1, 8)) for f in (function, plain))
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_branches_of_temporal_attention_may_be_transposed():
    got, expected = (
        run(f, (2, 3, 5, 8), (2, 3, 1, 8), transposed=True)
        for f in (fused.fused_add_gated, add_gated)
    )
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_rounded_once():
    """Inside it computes in float32; the CPU mode cuts digits off where a GPU rounds: 2^-7."""
    x, shift, scale = (torch.randn(3, n, 16).bfloat16() for n in (2, 1, 1))
    exact = modulate(x.double(), shift.double(), scale.double())
    out = fused.fused_modulate(x, shift, scale)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), exact, atol=1e-5, rtol=2**-7)


def test_autocast_gets_what_the_next_linear_layer_would_cast_to():
    x, shift, scale = (torch.randn(1, n, 16, requires_grad=True) for n in (4, 1, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = fused.fused_modulate(x, shift, scale)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, modulate(x, shift, scale).bfloat16(), atol=0.02, rtol=2**-7)
    out.sum().backward()
    assert x.grad.dtype == shift.grad.dtype == torch.float32


@pytest.mark.parametrize("modulation", [(16,), (1, 4, 16), (2, 4, 1)])
def test_other_shapes_are_left_to_torch(monkeypatch, modulation):
    monkeypatch.setattr(fused._Modulate, "apply", None)
    x, shift = torch.randn(2, 4, 16), torch.randn(modulation)
    assert torch.equal(fused.fused_modulate(x, shift, shift), modulate(x, shift, shift))


def test_a_device_is_tried_once_and_a_failure_is_said(monkeypatch, caplog):
    assert fused.works(torch.device("cpu"))
    fused.works.cache_clear()

    def broken(*arguments):
        raise RuntimeError("no C compiler\nlong story")

    monkeypatch.setattr(fused._Modulate, "apply", broken)
    with caplog.at_level(logging.WARNING):
        assert not fused.works(torch.device("cpu"))
        assert not fused.works(torch.device("cpu"))
    assert caplog.text.count("layer norms run in torch: Triton: no C compiler") == 1
    assert "long story" not in caplog.text


@pytest.mark.parametrize("case", ["stdit_xmask", "dit_class"])
def test_models_on_fused_kernels_give_the_numbers_of_the_reference(case):
    entry = TABLE["cases"][case]
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["kwargs"].items()}
    model = fill(build_module({"type": entry["cls"], **settings}, MODELS))
    for module in model.modules():
        if hasattr(module, "modulate"):
            module.modulate = fused.fused_modulate
        if hasattr(module, "add_gated"):
            module.add_gated = fused.fused_add_gated
    inputs = tensors(case)
    if "t" in inputs:
        inputs["timestep"] = inputs.pop("t")
    with torch.no_grad():
        out = model(**inputs)
    assert (out - TENSORS[f"{case}/out"]).abs().max() <= 5e-6
