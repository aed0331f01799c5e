"""What a sampling run is asked for, checked before any weight is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from opensora.core.errors import ConfigError

# fields that a sampling config may hold
FIELDS = (
    *("num_frames", "fps", "image_size", "prompt_path", "prompt", "save_dir", "num_samples"),
    *("model", "vae", "text_encoder", "scheduler", "checkpoint"),
    *("dtype", "batch_size", "seed", "display_size", "display_resize"),
)
DTYPES = ("fp32", "bf16", "fp16")

Resize = Literal["nearest", "lanczos"]


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Size, amount and display of the samples.

    Attributes:
        num_frames: frames per sample; 1 makes images.
        fps: frames per second of the files, and told to the model.
        image_size: (height, width) in pixels.
        save_dir: folder of the samples.
        num_samples: samples per prompt.
        batch_size: samples per forward; changes speed and memory, not results.
        seed: base of every sample's own seed.
        dtype: computation type, "fp32", "bf16" or "fp16".
        display_size: short side of the files in pixels; smaller samples are enlarged to it.
        display_resize: "nearest" by the largest whole factor, or "lanczos" to the exact size.
    """

    num_frames: int
    fps: float
    image_size: tuple[int, int]
    save_dir: Path
    num_samples: int = 1
    batch_size: int = 1
    seed: int = 42
    dtype: str = "fp32"
    display_size: int | None = None
    display_resize: Resize = "nearest"

    def __post_init__(self) -> None:
        """Refuse values that can not work."""
        sizes = {
            "num_frames": self.num_frames,
            "num_samples": self.num_samples,
            "batch_size": self.batch_size,
            "image_size[0]": self.image_size[0],
            "image_size[1]": self.image_size[1],
            "display_size": 1 if self.display_size is None else self.display_size,
        }
        for name, value in sizes.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} is {value!r}; expected a whole number of at least 1.")
        if not isinstance(self.fps, int | float) or self.fps <= 0:
            raise ConfigError(f"fps is {self.fps!r}; expected frames per second above 0.")
        if not isinstance(self.seed, int):
            raise ConfigError(f"seed is {self.seed!r}; expected a whole number.")
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype is {self.dtype!r}; expected one of {', '.join(DTYPES)}.")
        if self.display_resize not in ("nearest", "lanczos"):
            raise ConfigError(
                f"display_resize is {self.display_resize!r}; expected 'nearest' or 'lanczos'."
            )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SamplingSettings":
        """Read the settings among the fields of a sampling config.

        Raises:
            ConfigError: a field is missing or can not work.
        """
        for name in ("num_frames", "fps", "image_size", "save_dir"):
            if config.get(name) is None:
                raise ConfigError(
                    f"the sampling config has no {name}; set it there or as an option."
                )
        size = config["image_size"]
        if not isinstance(size, tuple | list) or len(size) != 2:
            raise ConfigError(f"image_size is {size!r}; expected (height, width) in pixels.")
        names = set(cls.__dataclass_fields__) - {"image_size", "save_dir"}
        values = {name: config[name] for name in names if config.get(name) is not None}
        return cls(image_size=(size[0], size[1]), save_dir=Path(config["save_dir"]), **values)
