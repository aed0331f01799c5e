"""Where an encoder runs."""

import torch

from opensora.core.errors import ConfigError


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
