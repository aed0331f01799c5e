"""Which functions a model is made of, and the fused ones in Triton's CPU mode."""

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


@pytest.fixture(autouse=True)
def _forget_what_is_installed():
    choice._installed.cache_clear()
    yield
    choice._installed.cache_clear()


def test_fused_kernels_in_tritons_cpu_mode():
    pytest.importorskip("triton")
    file = Path(__file__).with_name("test_kernels_interpreted.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
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


POINTER = {"float32": "*fp32", "bfloat16": "*bf16"}


@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_gpus_without_one(monkeypatch, tmp_path, capability):
    """Down to machine code, for the widths and types of a real model; no local memory."""
    module = pytest.importorskip("opensora.models.layers.kernels.adaptive")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    low = {"x", "out", "grad", "grad_x", "branch", "grad_branch"}
    for kernel in (module._modulate_forward, module._modulate_backward, module._gate_backward):
        constants = {"BLOCK": 2048} | ({"EACH": 16} if "EACH" in kernel.arg_names else {})
        signature = {}
        for name in kernel.arg_names:
            if name in constants:
                signature[name] = "constexpr"
            elif name in ("D", "rows") or name.endswith("stride"):
                signature[name] = "i32"
            elif name == "eps":
                signature[name] = "fp32"
            else:
                signature[name] = POINTER["bfloat16" if name in low else "float32"]
        source = ASTSource(kernel, signature, constants)
        compiled = compile(source, target=GPUTarget("cuda", capability, 32))
        assert compiled.asm["cubin"]
        assert ".local" not in compiled.asm["ptx"]


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
