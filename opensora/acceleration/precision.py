"""Which precision a forward pass runs in, and whether the machine is fast at it."""

import contextlib
import logging
from contextlib import AbstractContextManager

import torch

from opensora.core.errors import ConfigError

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def cpu_is_fast_at_bf16() -> bool:
    """Tell whether this CPU multiplies bf16 matrices in hardware (AVX512-BF16 or AMX).

    Without it bf16 is emulated and several times slower than fp32.
    """
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def effective_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products: the one asked for, or fp32 on a CPU slow at bf16.

    Args:
        name: "bf16", "fp16" or "fp32".
        device: where the model runs.

    Raises:
        ConfigError: another name, or fp16 on a CPU.
    """
    if name not in DTYPES:
        raise ConfigError(
            f"dtype is {name!r}; expected one of {', '.join(DTYPES)} (weights stay fp32)"
        )
    if name == "fp16" and device.type == "cpu":
        raise ConfigError(
            "dtype is 'fp16' and this run is on the CPU, which computes it slower than fp32 and"
            " less exactly; use dtype='fp32' or 'bf16', or pass --gpus"
        )
    if name == "bf16" and device.type == "cpu" and not cpu_is_fast_at_bf16():
        log.warning("precision asked=bf16 used=fp32 reason=cpu_without_bf16_instructions")
        return torch.float32
    return DTYPES[name]


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Context in which matrix products run in `dtype`; nothing happens for fp32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
