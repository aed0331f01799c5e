"""Which precision a forward pass runs in, and whether the machine is fast at it."""

import contextlib
import logging
import os
from contextlib import AbstractContextManager

import torch

from opensora.core.errors import ConfigError
from opensora.models.device import parse_dtype

log = logging.getLogger(__name__)

# oneDNN's limits below AVX512_CORE_BF16 (oneDNN, "CPU Dispatcher Control"). It compares without
# regard to case, takes a value that it does not know for none, and AVX2_VNNI_2, which converts
# bf16 but does not multiply it, stands on the branch beside AVX-512.
_LIMITS_WITHOUT_BF16 = frozenset(
    {
        *("sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2"),
        *("avx512_mic", "avx512_mic_4ops", "avx512_core", "avx512_core_vnni"),
    }
)


def cpu_is_fast_at_bf16() -> bool:
    """Tell whether this run multiplies bf16 matrices in hardware (AVX512-BF16 or AMX).

    Without it bf16 is emulated and several times slower than fp32. The processor must have the
    instructions, and ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA must leave them to torch and to
    oneDNN: under these a run shall behave as on the processor that they stand for.
    """
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    torch_may_use_them = torch.backends.cpu.get_cpu_capability() == "AVX512"
    # oneDNN reads the older spelling where the newer one is unset or empty
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "default"
    return has_instructions and torch_may_use_them and limit.lower() not in _LIMITS_WITHOUT_BF16


def effective_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products: the one asked for, or fp32 on a CPU slow at bf16.

    Args:
        name: "bf16", "fp16" or "fp32".
        device: where the model runs.

    Raises:
        ConfigError: another name, or fp16 on a CPU.
    """
    dtype = parse_dtype(name)
    if dtype == torch.float16 and device.type == "cpu":
        raise ConfigError(
            "dtype is 'fp16' and this run is on the CPU, which computes it slower than fp32 and"
            " less exactly; use dtype='fp32' or 'bf16', or pass --gpus"
        )
    if dtype == torch.bfloat16 and device.type == "cpu" and not cpu_is_fast_at_bf16():
        log.warning("precision asked=bf16 used=fp32 reason=cpu_without_bf16_instructions")
        return torch.float32
    return dtype


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Context in which matrix products run in `dtype`; nothing happens for fp32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
