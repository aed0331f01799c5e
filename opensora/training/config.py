"""The fields of a training config: which exist, what they default to, which exclude each other."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from opensora.acceleration.optimizer_fields import check_optimizer
from opensora.config.groups import count_groups
from opensora.config.load import load_config
from opensora.config.registry import check_parts
from opensora.config.values import check_value
from opensora.core.errors import ConfigError
from opensora.models.lora.settings import LoraSettings
from opensora.plans.settle_plan import MAX_REJECTED
from opensora.plans.stage_plan import check_accumulate
from opensora.training.watched.loggers import LOGGERS

# used by other commands that read the same config file (assign-buckets, plan, encode-*, sample)
SHARED_FIELDS = (
    *("balance", "batch_size", "bucket_config", "data_path", "drop_last", "epochs", "fps"),
    *("frame_interval", "image_size", "max_crop", "num_frames", "root", "use_image_transform"),
    "num_bucket_build_workers",  # of the reference; buckets are assigned in one go here
    "computed_with",  # written beside the results: threads, workers, precision
    "encoders",  # written beside the results: identities of the VAE and the text encoder
)
STORED = "LatentDataset"
FIXED_SIZE, ANY_SIZE = "VideoTextDataset", "VariableVideoTextDataset"
STATE = "state"  # folder in the outputs


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training."""

    model: dict[str, Any]
    """Type and keywords of the model; channels and text width come from the stores."""
    scheduler: dict[str, Any]
    """Type and keywords of the diffusion process."""
    dataset: dict[str, Any]
    """Type, and the paths `latents`, `embeddings` and `plan`; or `data_path`, to train online."""
    outputs: str
    """Folder of the results; `state/` in it holds the checkpoints."""
    vae: dict[str, Any] | None = None
    """Online: `from_pretrained` and other keywords of the video autoencoder; the folder knows its
    type."""
    text_encoder: dict[str, Any] | None = None
    """Online: type and keywords of the text encoder, `from_pretrained` among them; the type of
    the stored embeddings must be the same."""
    posterior: str = "sample"
    """Online: latents are a "sample" of the autoencoder's posterior or its "mean"."""
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
    accumulate: int = 1
    """Micro batches of a step on each worker: the loss is the mean over all their clips, as if they
    were one batch."""
    until: int | None = None
    """End here what is to be continued (`load`): the schedule is that of the whole stage."""
    dtype: str = "bf16"
    """Precision of matrix products: "bf16", "fp16" (on GPUs) or "fp32"."""
    residual_dtype: str = "fp32"
    """Precision of what flows from block to block: "fp32", or "bf16" with dtype="bf16"."""
    reduce_dtype: str = "fp32"
    """Precision of gradients that workers send each other: "fp32", or "bf16" with plugins "ddp" and
    "fsdp"."""
    plugin: str = "ddp"
    """How the workers split what they hold: "ddp", "zero1", "zero2" or "fsdp"."""
    lora: dict[str, Any] | None = None
    """Train adapters on given weights instead of all of them: `rank`, `targets` and more, see
    `models/lora/settings.py`; None trains the model."""
    grad_checkpoint: bool = False
    """Recompute activations in the backward pass to save memory."""
    mask_ratios: dict[str, float] | None = None
    """How often which frames stay clean as a condition; None never masks."""
    seed: int = 42
    """Of weights, timesteps, noise and dropout."""
    load: str | None = None
    """Weights to start from (a file, or the outputs of an earlier stage: its EMA), or a checkpoint
    (`state/step_XXXXXXXX`, or `state`), from which optimizer, average and counters go on."""
    max_rejected: float = MAX_REJECTED
    """Online: largest share of the plan's clips that may turn out to be unreadable."""
    max_broken_steps: int = 0
    """Steps in a row that are left out because their loss or gradient is not a finite number, each
    with its clips in the log; one more ends the run. Not for "zero1" and "zero2", whose weights
    have changed by the time it is known."""
    log_every: int = 10
    """Steps per line of metrics.jsonl."""
    ckpt_every: int = 1000
    """Steps between checkpoints."""
    num_workers: int = 1
    """Batches read ahead in background threads; 0 reads each one when it is needed."""
    eval_every: int | None = None
    """Steps between measurements of the held-out loss, on the clips of `dataset.validation`, a plan
    of `assign-buckets`; None measures none. A multiple of `log_every`."""
    wandb: bool = False
    """Send the metrics to Weights & Biases as well."""
    loggers: list[str] = field(default_factory=list)
    """Who gets the metrics as well: "tensorboard" (files in `state/tensorboard`), "wandb"."""
    kernels: dict[str, str] | None = None
    """On GPUs `attention`, `short_attention` and `layer_norm`: a kernel, or "auto" for the fastest
    of the first start, which `state/kernels.json` keeps."""
    require_kernels: bool = False
    """Refuse to start where a kernel that the model enables is missing."""
    compile: bool = False
    """Compile the blocks of the model, once per size of a batch; part of what a run is, because
    compiled blocks round otherwise."""
    sp_size: int = 1
    """Workers that share one video, for videos whose activations do not fit one GPU."""

    def __post_init__(self) -> None:
        """Check single values.

        Raises:
            ConfigError: a value that can not be meant.
        """
        for name, kept in self.__dataclass_fields__.items():
            check_value(name, getattr(self, name), kept.type)
        for name in ("log_every", "ckpt_every"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("warmup_steps", "num_workers", "max_broken_steps"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        if self.max_broken_steps and self.plugin.startswith("zero"):
            raise ConfigError(
                f"max_broken_steps is {self.max_broken_steps} and plugin {self.plugin!r} can leave"
                " no step out; use plugin 'ddp' or 'fsdp', or leave max_broken_steps out"
            )
        check_accumulate(self.accumulate)
        self._check_watched()
        self._check_lora()
        self._check_narrow()
        _require(self.lr is None or self.lr >= 0, "lr", self.lr, "a number of at least 0")
        is_met = self.grad_clip is None or self.grad_clip > 0
        _require(is_met, "grad_clip", self.grad_clip, "a number above 0, or None")
        check_optimizer(self.optimizer)
        steps = self.num_steps
        _require(steps is None or steps >= 1, "num_steps", steps, "at least 1, or None")
        _require(self.until is None or self.until >= 1, "until", self.until, "at least 1, or None")
        _require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "in [0, 1)")
        decays = (None, "linear", "cosine")
        _require(self.lr_decay in decays, "lr_decay", self.lr_decay, "None, 'linear' or 'cosine'")
        count_groups(self.sp_size, self.sp_size)
        if self.lr is not None and "lr" in self.optimizer:
            raise ConfigError(
                f"lr is {self.lr} and optimizer.lr is {self.optimizer['lr']}; keep one of the two"
            )
        posteriors = ("sample", "mean")
        _require(self.posterior in posteriors, "posterior", self.posterior, "'sample' or 'mean'")
        _require(0 <= self.max_rejected <= 1, "max_rejected", self.max_rejected, "from 0 to 1")
        self._check_stored() if self.dataset["type"] == STORED else self._check_online()

    def _check_watched(self) -> None:
        every = self.eval_every
        is_met = every is None or (every >= 1 and every % self.log_every == 0)
        expected = f"a multiple of log_every ({self.log_every}), or None"
        _require(is_met, "eval_every", every, expected)
        names = tuple(LOGGERS)
        is_known = not isinstance(self.loggers, str) and set(self.loggers) <= set(names)
        _require(is_known, "loggers", self.loggers, f"a list of {', '.join(map(repr, names))}")

    def _check_lora(self) -> None:
        if self.lora is None:
            return
        LoraSettings.of(self.lora)
        if self.plugin == "fsdp":
            raise ConfigError(
                "plugin 'fsdp' splits the weights that adapters sit on, and lora needs them whole;"
                " use plugin='zero2' or 'ddp'"
            )
        if self.load is None and not self.model.get("from_pretrained"):
            raise ConfigError(
                "lora adapts weights that are there and none are given; name them as load (--load"
                " FILE) or model.from_pretrained (--ckpt-path FILE)"
            )

    def _check_narrow(self) -> None:
        for name in ("residual_dtype", "reduce_dtype"):
            value = getattr(self, name)
            _require(value in ("fp32", "bf16"), name, value, "'fp32' or 'bf16'")
        if self.residual_dtype == "bf16" and self.dtype != "bf16":
            raise ConfigError(
                f"residual_dtype is 'bf16' and dtype is {self.dtype!r}, of which products are no"
                " narrower; use dtype='bf16', or leave residual_dtype out"
            )
        if self.reduce_dtype == "bf16" and self.plugin not in ("ddp", "fsdp"):
            raise ConfigError(
                f"reduce_dtype is 'bf16' and plugin {self.plugin!r} has never been run with it; use"
                " plugin 'ddp' or 'fsdp', or leave reduce_dtype out"
            )

    def _check_stored(self) -> None:
        for name in ("latents", "embeddings", "plan"):
            path = self.dataset.get(name)
            if path is None:
                raise ConfigError(
                    f"dataset.{name} is not set; pass --dataset.{name} PATH, or --data-path"
                    " MANIFEST to train from the videos themselves"
                )
            if not Path(path).exists():
                raise ConfigError(f"dataset.{name} {path}: no such file or folder")
        if (path := self.dataset.get("validation")) and not Path(path).exists():
            raise ConfigError(f"dataset.validation {path}: no such file")
        for name, usual, instead in (
            ("posterior", "sample", "encode-videos has --posterior"),
            ("max_rejected", MAX_REJECTED, "settle-plan has --max-rejected"),
        ):
            if getattr(self, name) != usual:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r} but the latents are stored already, so it"
                    f" has no effect; drop it ({instead})"
                )

    def _check_online(self) -> None:
        if self.dataset.get("data_path") is None:
            raise ConfigError(
                "dataset.data_path is not set; pass --data-path MANIFEST to train from videos, or"
                " --dataset.latents, --dataset.embeddings and --dataset.plan to train from stores"
            )
        for name in ("data_path", "plan", "root"):
            path = self.dataset.get(name)
            if path is not None and not Path(path).exists():
                raise ConfigError(f"dataset.{name} {path}: no such file or folder")
        if (self.text_encoder or {}).get("type") == "classes":
            raise ConfigError(
                "text_encoder.type 'classes' knows class numbers and no captions; use 't5' or"
                " 'clip', or train from stores that `opensora encode-captions --type classes` fills"
            )
        for name in ("vae", "text_encoder"):
            if not (getattr(self, name) or {}).get("from_pretrained"):
                option = name.replace("_", "-")
                raise ConfigError(
                    f"{name}.from_pretrained is not set; training from videos encodes them as it"
                    f" goes: pass --{option} FOLDER"
                )

    @property
    def last_step(self) -> int | None:
        """Step that this run may not pass; None where the plan says it."""
        return min((n for n in (self.num_steps, self.until) if n is not None), default=None)

    @property
    def all_loggers(self) -> list[str]:
        """Those of `loggers`, and the one that `wandb` names."""
        return [*self.loggers, *(["wandb"] if self.wandb else [])]

    @property
    def is_online(self) -> bool:
        """Whether videos and captions are encoded during training."""
        return self.dataset["type"] != STORED

    @property
    def given_plan(self) -> Path:
        """The plan that is asked for, or the one compiled from the manifest."""
        return Path(self.dataset.get("plan") or self.state_folder / "compiled.parquet")

    @property
    def state_folder(self) -> Path:
        """Where checkpoints and the growing metrics.jsonl stand."""
        return Path(self.outputs) / STATE

    @property
    def stop_file(self) -> Path:
        """As long as it is there the stage is done where it stands."""
        return Path(self.outputs) / "STOP"


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
    config = load_config(path, overrides, known=KNOWN_FIELDS, kind="train")
    for name, value in options.items():
        if value is not None:
            config[name] = value
    plain = config.to_dict()
    try:
        check_parts(plain)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    fields = {name: plain[name] for name in OWN_FIELDS if name in plain} | _data_fields(plain)
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


def _data_fields(plain: dict[str, Any]) -> dict[str, Any]:
    """Fill in the types of the data set and, for a path alone, of the encoders."""
    dataset = plain.get("dataset") or {}
    online = ANY_SIZE if plain.get("bucket_config") else FIXED_SIZE
    default = STORED if dataset.get("data_path") is None else online
    fields: dict[str, Any] = {"dataset": {"type": default, **dataset}}
    if plain.get("text_encoder"):
        fields["text_encoder"] = {"type": "t5", **plain["text_encoder"]}
    return fields


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{name} is {value!r}; expected {expected}")
