"""The machine that a forecast is for: kinds of GPUs, how many, how long."""

from dataclasses import dataclass

from opensora.core.errors import ConfigError

# dense bf16 tensor operations per second, TFLOP/s, from the makers' data sheets
GPU_PEAKS = {
    "a100": 312.0,
    "h100": 989.0,
    "h200": 989.0,
    "h800": 989.0,
    "l40s": 362.0,
    "rtx4090": 165.0,
}
# of one card, GB, from the makers' data sheets
GPU_MEMORY = {
    "a100": 80.0,
    "h100": 80.0,
    "h200": 141.0,
    "h800": 80.0,
    "l40s": 48.0,
    "rtx4090": 24.0,
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where the stage is to run.

    Attributes:
        gpus: number of GPUs.
        hours: how long they may run.
        peak_tflops: dense bf16 TFLOP/s of one.
        mfu: share of the peak that the model's operations reach, recomputed ones included.
        memory: of one, GB.
    """

    gpus: int = 8
    hours: float = 24.0
    peak_tflops: float = GPU_PEAKS["h100"]
    mfu: float = 0.4
    memory: float = GPU_MEMORY["h100"]

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: one of them can not be meant.
        """
        for name in ("gpus", "hours", "peak_tflops", "memory"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected more than 0")
        if not 0 < self.mfu <= 1:
            raise ConfigError(f"mfu is {self.mfu}; expected a share of the peak in (0, 1]")

    @property
    def gpu_flops(self) -> float:
        """Useful operations per second of one GPU."""
        return self.peak_tflops * 1e12 * self.mfu


def gpu_memory(kind: str) -> float:
    """Memory of one GPU of a kind, GB; of an unknown kind that of the usual card."""
    return GPU_MEMORY.get(kind.lower(), GPU_MEMORY["h100"])


def peak_of_device(name: str) -> float | None:
    """Dense bf16 operations per second of a GPU, by the name that its driver gives.

    Returns:
        None for a device that is not in the table; cards with less power than those of their name
        in it (PCIe and NVL ones) are not.
    """
    plain = name.lower().replace(" ", "")
    if plain.startswith("nvidiah") and ("pcie" in plain or "nvl" in plain):
        return None
    return next((peak * 1e12 for kind, peak in GPU_PEAKS.items() if kind in plain), None)


def gpu_peak(kind: str) -> float:
    """Return the dense bf16 TFLOP/s of a kind of GPU.

    Raises:
        ConfigError: the kind is not in the table.
    """
    if kind.lower() not in GPU_PEAKS:
        raise ConfigError(
            f"--gpu {kind!r}: known are {', '.join(GPU_PEAKS)}; give --peak-tflops for another"
        )
    return GPU_PEAKS[kind.lower()]
