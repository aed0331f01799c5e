"""Where a network runs, and in which type."""

import torch

from opensora.core.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LONG_NAMES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}  # of torch


def parse_dtype(dtype: str | torch.dtype, *, place: str = "dtype") -> torch.dtype:
    """The torch type that a name means; `place` is the field or option that gave it.

    Raises:
        ConfigError: an unknown name.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    name = _LONG_NAMES.get(dtype, dtype)
    if name not in DTYPES:
        raise ConfigError(f"{place} is {dtype!r}; expected one of {', '.join(DTYPES)}")
    return DTYPES[name]


def choose_device(asked: str | None) -> str:
    """Return the device asked for, or cuda where there is one, else cpu.

    Raises:
        ConfigError: no such device on this machine.
    """
    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise ConfigError(f"--device {asked}: expected cpu, cuda or cuda:1") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {asked}: expected cpu, cuda or cuda:1")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise ConfigError(
            f"--device {asked}: this machine shows {count} CUDA devices; use --device cpu, or check"
            " the driver and CUDA_VISIBLE_DEVICES"
        )
    return "cpu" if device.type == "cpu" else asked
