"""What a sampling run is asked for, checked before any weight is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from opensora.config.fields import INFERENCE_FIELDS
from opensora.config.values import check_value
from opensora.core.errors import ConfigError
from opensora.models.device import parse_dtype
from opensora.sampling.conditioning import total_frames

# fields that a sampling config may hold; those named here are our own
FIELDS = INFERENCE_FIELDS | {
    *("num_samples", "align", "display_size", "display_resize", "sp_size", "lora"),
    *(
        "image_encoder",
        "guidance_apart",
        "compile",
        "decode_frames",
        "decode_overlap",
        "preview_every",
    ),
}

# fields that are no settings
_OTHERS = {
    "save_dir": str,
    "lora": str | None,
    "prompt_path": str | None,
    "image_encoder": str | dict[str, Any] | None,
}
_MOST_FPS = 1_000  # what a file can play

Resize = Literal["nearest", "lanczos"]


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Size, amount and display of the samples.

    Attributes:
        num_frames: frames that the model makes at once; 1 makes images.
        fps: frames per second that condition the model (see `Pipeline.condition_fps`).
        frame_interval: the files play at fps / frame_interval, as a model trained on every n-th
            frame wants it.
        image_size: (height, width) in pixels.
        save_dir: folder of the samples.
        num_samples: samples per prompt.
        batch_size: samples per forward; changes speed, memory and rounding.
        seed: base of every sample's own seed.
        dtype: computation type, "fp32", "bf16" or "fp16".
        loop: clips joined to one video; each further one begins with the end of the one before.
        condition_frame_length: frames that joined clips share; 0 shares none.
        multi_resolution: name of the model family that takes its size; only checked, because
            every model gets what it takes.
        align: see `conditioning.place`.
        display_size: short side of the files in pixels; smaller samples are enlarged to it.
        display_resize: "nearest" by the largest whole factor, or "lanczos" to the exact size.
        sp_size: workers that share each sample; changes memory, speed and rounding.
        guidance_apart: run the halves of guidance one after the other, for less memory. On a GPU
            whose memory the first try exceeds it is done anyway.
        compile: compile the blocks; takes a minute at first and changes rounding.
        decode_frames: latent frames that an autoencoder along time decodes at once; None = all.
        decode_overlap: frames on both sides of each such chunk, decoded with it and thrown away.
        preview_every: steps between pictures of samples that are being made; None = none.
    """

    num_frames: int
    fps: float
    image_size: tuple[int, int]
    save_dir: Path
    frame_interval: int = 1
    num_samples: int = 1
    batch_size: int = 1
    seed: int = 42
    dtype: str = "fp32"
    loop: int = 1
    condition_frame_length: int = 0
    multi_resolution: str | None = None
    align: int | None = None
    display_size: int | None = None
    display_resize: Resize = "nearest"
    sp_size: int = 1
    guidance_apart: bool = False
    compile: bool = False
    decode_frames: int | None = None
    decode_overlap: int = 0
    preview_every: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that can not work."""
        sizes = {
            "num_frames": self.num_frames,
            "frame_interval": self.frame_interval,
            "num_samples": self.num_samples,
            "batch_size": self.batch_size,
            "loop": self.loop,
            "align": 1 if self.align is None else self.align,
            "image_size[0]": self.image_size[0],
            "image_size[1]": self.image_size[1],
            "display_size": 1 if self.display_size is None else self.display_size,
            "sp_size": self.sp_size,
            "decode_frames": 1 if self.decode_frames is None else self.decode_frames,
            "preview_every": 1 if self.preview_every is None else self.preview_every,
        }
        for name, value in sizes.items():
            if not _is_whole(value) or value < 1:
                raise ConfigError(f"{name} is {value!r}; expected a whole number of at least 1.")
        if not 0 < self.fps <= _MOST_FPS:
            raise ConfigError(
                f"fps is {self.fps!r}; expected frames per second above 0, at most {_MOST_FPS}."
            )
        if not _is_whole(self.seed):
            raise ConfigError(f"seed is {self.seed!r}; expected a whole number.")
        if not _is_whole(self.decode_overlap) or self.decode_overlap < 0:
            raise ConfigError(
                f"decode_overlap is {self.decode_overlap!r}; expected a whole number from 0."
            )
        if self.decode_overlap and self.decode_frames is None:
            raise ConfigError("decode_overlap has no effect without decode_frames; set both.")
        parse_dtype(self.dtype)
        if self.display_resize not in ("nearest", "lanczos"):
            raise ConfigError(
                f"display_resize is {self.display_resize!r}; expected 'nearest' or 'lanczos'."
            )
        self._check_loop()

    def _check_loop(self) -> None:
        shared = self.condition_frame_length
        if not _is_whole(shared) or not 0 <= shared < self.num_frames:
            raise ConfigError(
                f"condition_frame_length is {shared!r}; expected a whole number from 0 to"
                f" {self.num_frames - 1}, less than num_frames."
            )
        if self.loop > 1 and self.num_frames == 1:
            raise ConfigError("loop joins videos but num_frames is 1; drop one of the two fields.")

    @property
    def total_frames(self) -> int:
        """Frames of a finished sample."""
        return total_frames(self.num_frames, self.loop, self.condition_frame_length)

    @property
    def file_fps(self) -> float:
        """Frames per second of the files."""
        return self.fps if self.frame_interval == 1 else self.fps / self.frame_interval

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SamplingSettings":
        """Read the settings among the fields of a sampling config.

        Raises:
            ConfigError: a field is missing, can not work or has no effect.
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
        for name, value in values.items():
            check_value(name, value, cls.__dataclass_fields__[name].type)
        for name, hint in _OTHERS.items():
            check_value(name, config.get(name), hint)
        settings = cls(image_size=(size[0], size[1]), save_dir=Path(config["save_dir"]), **values)
        if settings.loop == 1 and "condition_frame_length" in values:
            raise ConfigError(
                f"condition_frame_length is {settings.condition_frame_length} but loop is 1, so it"
                " has no effect; set loop, or condition_frame_length to None."
            )
        if settings.loop > 1 and "condition_frame_length" not in values:
            raise ConfigError(
                f"loop is {settings.loop} but condition_frame_length is not set; set the number of"
                " frames that joined clips share, 0 for none."
            )
        return settings


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
