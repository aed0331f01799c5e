"""The fields of a training config: which exist, what they default to, which exclude each other."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from opensora.core.config import load_config
from opensora.core.errors import ConfigError

# used by other commands that read the same config file (assign-buckets, encode-*, sample)
SHARED_FIELDS = (
    *("batch_size", "bucket_config", "data_path", "epochs", "fps", "frame_interval", "image_size"),
    *("num_frames", "root", "text_encoder", "use_image_transform", "vae"),
    "encoders",  # written beside the results: identities of the VAE and the text encoder
)


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training."""

    model: dict[str, Any]
    """Type and keywords of the model; channels and text width come from the stores."""
    scheduler: dict[str, Any]
    """Type and keywords of the diffusion process."""
    dataset: dict[str, Any]
    """Type, and the paths `latents`, `embeddings` and `plan`."""
    outputs: str
    """Folder of the results; `state/` in it holds the checkpoints."""
    optimizer: dict[str, Any] = field(default_factory=lambda: {"type": "adamw"})
    """Type ("adamw" or "muon") and its keywords, see `optimizer.py`."""
    lr: float | None = None
    """Learning rate, if the optimizer does not name its own."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    lr_decay: str | None = None
    """How it falls to 0 at the last step: None (it does not), "linear" or "cosine"."""
    ema_decay: float = 0.9999
    """Share of the average that each step keeps (less during the first steps)."""
    grad_clip: float | None = 1.0
    """Largest gradient norm; None never clips."""
    num_steps: int | None = None
    """Stop after this many optimizer steps; None runs the whole plan."""
    dtype: str = "bf16"
    """Precision of matrix products: "bf16" or "fp32"."""
    plugin: str = "ddp"
    """ColossalAI plugin: "ddp", "zero1" or "zero2"."""
    grad_checkpoint: bool = False
    """Recompute activations in the backward pass to save memory."""
    mask_ratios: dict[str, float] | None = None
    """How often which frames stay clean as a condition; None never masks."""
    seed: int = 42
    """Of weights, timesteps, noise and dropout."""
    load: str | None = None
    """Weights to start from: a checkpoint file, or the outputs of an earlier stage (its EMA)."""
    log_every: int = 10
    """Steps per line of metrics.jsonl."""
    ckpt_every: int = 1000
    """Steps between checkpoints."""
    num_workers: int = 1
    """Batches that a background thread reads ahead; 0 reads each one when it is needed."""
    wandb: bool = False
    """Send the metrics to Weights & Biases as well."""
    sp_size: int = 1
    """Workers that share one video; only 1 is supported."""

    def __post_init__(self) -> None:
        """Check single values.

        Raises:
            ConfigError: a value that can not be meant.
        """
        for name in ("log_every", "ckpt_every"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("warmup_steps", "num_workers"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        steps = self.num_steps
        _require(steps is None or steps >= 1, "num_steps", steps, "at least 1, or None")
        _require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "in [0, 1)")
        decays = (None, "linear", "cosine")
        _require(self.lr_decay in decays, "lr_decay", self.lr_decay, "None, 'linear' or 'cosine'")
        _require(
            self.sp_size == 1, "sp_size", self.sp_size, "1 (sequence parallelism is not there)"
        )
        if self.lr is not None and "lr" in self.optimizer:
            raise ConfigError(
                f"lr is {self.lr} and optimizer.lr is {self.optimizer['lr']}; keep one of the two"
            )
        for name in ("latents", "embeddings", "plan"):
            path = self.dataset.get(name)
            if path is None:
                raise ConfigError(f"dataset.{name} is not set; pass --dataset.{name} PATH")
            if not Path(path).exists():
                raise ConfigError(f"dataset.{name} {path}: no such file or folder")

    @property
    def state_folder(self) -> Path:
        """Where checkpoints and the growing metrics.jsonl stand."""
        return Path(self.outputs) / "state"


OWN_FIELDS = tuple(TrainConfig.__dataclass_fields__)
KNOWN_FIELDS = frozenset([*OWN_FIELDS, *SHARED_FIELDS])


def read_train_config(
    path: str | Path, overrides: list[str], **options: str | None
) -> tuple[TrainConfig, Config]:
    """Load a config file, apply the command line, fill in defaults.

    Args:
        path: an MMEngine `.py` file.
        overrides: words such as `--lr 1e-4`.
        **options: fields that have a command-line option of their own; None is "not given".

    Returns:
        The checked fields, and the whole config as it stands beside the results.

    Raises:
        ConfigError: an unknown field, or a value that can not be meant.
    """
    config = load_config(path, overrides, known=KNOWN_FIELDS)
    for name, value in options.items():
        if value is not None:
            config[name] = value
    plain = config.to_dict()
    dataset = {"type": "LatentDataset", **plain.get("dataset", {})}
    fields = {name: plain[name] for name in OWN_FIELDS if name in plain} | {"dataset": dataset}
    for name in ("model", "scheduler", "outputs"):
        if name not in fields:
            raise ConfigError(f"{path}: field {name!r} is missing")
    try:
        train_config = TrainConfig(**fields)
    except TypeError as error:  # a comparison met a value of the wrong type
        raise ConfigError(f"{path}: a field has a value of the wrong type ({error})") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    for name in OWN_FIELDS:
        config[name] = getattr(train_config, name)
    return train_config, config


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{name} is {value!r}; expected {expected}")
