"""Which functions a model is made of, and the fused ones in Triton's CPU mode."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.models.layers.kernels import choice
from opensora.models.layers.kernels.choice import TORCH, choose_kernels
from opensora.models.layers.kernels.flash import flash_attend
from opensora.models.layers.norms import add_gated, modulate
from tests.unit.models.layers.kernels.short_reference import SETTINGS, SHAPES, run
from tests.unit.models.layers.kernels.short_reference import plain as formula


@pytest.fixture(autouse=True)
def _forget_what_is_installed():
    choice._installed.cache_clear()
    yield
    choice._installed.cache_clear()


def test_fused_kernels_in_tritons_cpu_mode():
    pytest.importorskip("triton")
    files = sorted(map(str, Path(__file__).parent.glob("test_*_interpreted.py")))
    assert len(files) == 2
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout or "[100%]" in done.stdout, done.stdout


class TestChoice:
    def test_torch_serves_unless_asked(self):
        assert choose_kernels(enable_flash_attn=False, enable_layernorm_kernel=False) == TORCH

    def test_what_is_missing_is_said_once_and_torch_serves(self, monkeypatch, caplog):
        monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):  # three models
                chosen = choose_kernels(enable_flash_attn=True, enable_layernorm_kernel=True)
                assert chosen == TORCH
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
        assert "flash_attn is not installed: attention runs in torch" in caplog.text
        assert "triton is not installed: layer norms run in torch" in caplog.text

    def test_what_is_installed_is_chosen(self, monkeypatch):
        monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: object())
        chosen = choose_kernels(enable_flash_attn=True, enable_layernorm_kernel=False)
        assert chosen.attend is flash_attend
        assert chosen.modulate is modulate

    @pytest.mark.parametrize("name", ["STDiT", "STDiT2", "STDiT3", "PixArt", "DiT", "Latte"])
    def test_a_model_hands_them_to_every_block(self, name):
        pytest.importorskip("triton")
        from opensora.models.layers.kernels.adaptive import fused_add_gated, fused_modulate

        sizes = {"hidden_size": 12, "depth": 2, "num_heads": 1}
        model = build_module({"type": name, **sizes, "enable_layernorm_kernel": True}, MODELS)
        adaptive = [m for m in model.modules() if hasattr(m, "modulate")]
        assert len(adaptive) == (5 if name == "STDiT3" else 3)  # blocks and the final layer
        assert all(m.modulate is fused_modulate for m in adaptive)
        gated = [m.add_gated for m in adaptive if hasattr(m, "add_gated")]
        assert gated == [fused_add_gated] * (len(adaptive) - 1)


def test_a_cpu_and_a_compiler_are_left_to_torch(monkeypatch):
    adaptive = pytest.importorskip("opensora.models.layers.kernels.adaptive")
    x, shift = torch.randn(2, 4, 16), torch.randn(2, 1, 16)
    assert torch.equal(adaptive.fused_modulate(x, shift, shift), modulate(x, shift, shift))
    assert torch.equal(adaptive.fused_add_gated(x, shift, x), add_gated(x, shift, x))
    monkeypatch.setattr(adaptive, "INTERPRETED", True)
    assert adaptive._serves(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not adaptive._serves(x)


def test_kernels_compile_for_gpus_without_one(tmp_path):
    """Down to machine code, in a process of its own, for the widths and types of real models."""
    pytest.importorskip("triton")
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201 (what one wants to see of a kernel)
    found = {row.pop("name"): row for row in map(json.loads, done.stdout.splitlines())}
    assert len(found) == 30
    for name, row in found.items():
        assert row["registers"] <= 255, name
        assert row["shared"] <= 64 << 10, name
        assert row["vector_loads"], name  # 16 bytes at once
        # only with norm and rotation does a thread have more to remember than registers
        assert row["stack"] == 0 or "normed" in name, (name, row)
        # a row within a warp: nobody waits for other warps
        assert row["barriers"] == 0 or name.startswith("short"), (name, row)
    # two parts of a head cost less than one of 128
    assert found["short 16x72 backward"]["products"] < found["short 16x128 backward"]["products"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_kernels_on_a_gpu(dtype):
    from opensora.models.layers.kernels.adaptive import fused_add_gated, fused_modulate

    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    torch.manual_seed(0)
    start = [torch.randn(2, 4, n, 1152, device="cuda", dtype=dtype) for n in (300, 1, 1)]
    for function, plain in ((fused_modulate, modulate), (fused_add_gated, add_gated)):
        results = []
        for call in (function, plain):
            x, first, second = (tensor.clone().requires_grad_() for tensor in start)
            out = call(x, first, second if call in (fused_modulate, modulate) else x.cos())
            out.square().mean().backward()
            results.append((out, x.grad, first.grad))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(  # each is compiled: not all of them with all of them
    ("shape", "settings", "dtype"),
    [
        (SHAPES[0], SETTINGS[3], torch.float16),
        *((SHAPES[0], settings, torch.bfloat16) for settings in SETTINGS),
        *((shape, SETTINGS[k], torch.bfloat16) for shape in SHAPES[1:] for k in (0, 3)),
    ],
)
def test_short_attention_on_a_gpu(shape, settings, dtype):
    from opensora.models.layers.kernels.short import short_attention

    bound = 5e-3 if dtype == torch.float16 else 4e-2  # of the largest value
    found = run(short_attention, shape, dtype, device="cuda", **settings)
    exact = run(formula, shape, dtype, device="cuda", **settings)
    for a, b in zip(found, exact, strict=True):
        assert a.isfinite().all()
        assert (a - b).abs().max() <= bound * b.abs().max()
