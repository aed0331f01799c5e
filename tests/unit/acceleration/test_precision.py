import logging
import os
import subprocess
import sys

import pytest
import torch

from opensora.acceleration import precision
from opensora.core.errors import ConfigError

CPU = torch.device("cpu")
LIMITED = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


@pytest.fixture
def fast_processor(monkeypatch):
    """A processor with every instruction, and no limit set."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("bf16", "amx", "expected"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_avx512_bf16_or_amx_make_a_processor_fast(fast_processor, monkeypatch, bf16, amx, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert precision.cpu_is_fast_at_bf16() == expected


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT"])
def test_torch_held_back_from_avx512_is_slow_on_any_processor(
    fast_processor, monkeypatch, capability
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert not precision.cpu_is_fast_at_bf16()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        *((name, False) for name in ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2")),
        *((name, False) for name in ("AVX512_CORE", "AVX512_CORE_VNNI", "avx512_core")),
        *((name, True) for name in ("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX")),
        *((name, True) for name in ("AVX512_CORE_AMX_FP16", "AVX10_1_512", "AVX10_1_512_AMX")),
        *((name, True) for name in ("AVX10_2", "DEFAULT", "ALL", "")),
    ],
)
@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_onednn_must_be_allowed_the_instructions(
    fast_processor, monkeypatch, variable, limit, expected
):
    monkeypatch.setenv(variable, limit)
    assert precision.cpu_is_fast_at_bf16() == expected


def test_the_newer_spelling_of_onednns_limit_goes_first(fast_processor, monkeypatch):
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    assert not precision.cpu_is_fast_at_bf16()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")
    assert precision.cpu_is_fast_at_bf16()


def test_a_run_under_limited_instructions_computes_in_fp32():
    code = (
        "import torch; from opensora.acceleration.precision import effective_dtype;"
        "assert effective_dtype('bf16', torch.device('cpu')) is torch.float32"
    )
    environment = os.environ | LIMITED
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "asked=bf16 used=fp32" in done.stderr


@pytest.mark.parametrize(("fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_is_used_where_the_cpu_has_it_and_said_where_not(monkeypatch, caplog, fast, expected):
    monkeypatch.setattr(precision, "cpu_is_fast_at_bf16", lambda: fast)
    with caplog.at_level(logging.WARNING):
        assert precision.effective_dtype("bf16", CPU) == expected
    assert ("asked=bf16 used=fp32" in caplog.text) == (not fast)


@pytest.mark.parametrize(
    ("name", "words"),
    [("fp16", "this run is on the CPU"), ("fp8", "expected one of fp32, bf16, fp16")],
)
def test_a_type_that_can_not_be_used_here_is_refused_in_one_sentence(name, words):
    with pytest.raises(ConfigError, match=words) as error:
        precision.effective_dtype(name, CPU)
    assert "\n" not in str(error.value)


def test_fp16_is_used_on_a_gpu():
    assert precision.effective_dtype("fp16", torch.device("cuda")) == torch.float16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_sets_the_type_of_matrix_products_only(dtype):
    layer = torch.nn.Linear(2, 2)
    with precision.autocast(dtype, CPU):
        assert layer(torch.ones(1, 2)).dtype == dtype
    assert layer.weight.dtype == torch.float32
