"""What the small trainers share: config, loop, optimizer, output folder."""

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from opensora.acceleration.optimizer import LrSchedule, MuonWithAdamW
from opensora.acceleration.optimizer_fields import MUON_FIELDS
from opensora.config.load import load_config
from opensora.core.errors import ConfigError, OpenSoraError
from opensora.core.io import atomic_path
from opensora.core.log import progress

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
Fields = TypeVar("Fields")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Fields that every trainer has; each sets its own defaults."""

    num_steps: int
    """Optimizer steps."""
    batch_size: int
    """Samples per step: frames, clips or captions."""
    lr: float
    """Of Muon, for the matrices."""
    adamw_lr: float
    """Of AdamW, for everything else."""
    warmup_steps: int = 20
    """Steps over which both rise linearly."""
    seed: int = 42
    """Of weights, batches and all other draws."""
    log_every: int = 50
    """Steps per line of metrics.jsonl."""

    def __post_init__(self) -> None:
        """Check single values.

        Raises:
            ConfigError: a count that is too small.
        """
        for name in ("num_steps", "batch_size", "log_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "0 or more")


def read_fields(path: str | Path, overrides: Sequence[str], kind: type[Fields]) -> Fields:
    """Load a config file into a dataclass, which declares the fields, defaults and checks.

    Raises:
        ConfigError: an unknown field, or a value that can not be meant.
    """
    names = list(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    config = load_config(path, overrides, known=names)
    try:
        return kind(**config.to_dict())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: a field has a value that can not be used ({error})") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Check one value of a config.

    Raises:
        ConfigError: the condition does not hold.
    """
    if not condition:
        raise ConfigError(f"{name} is {value!r}; expected {expected}")


@contextmanager
def model_folder(output: str | Path, metrics: list[dict[str, Any]]) -> Iterator[Path]:
    """Yield an empty folder to write a model into; it appears as `output`, with its metrics."""
    with atomic_path(output, folder=True) as folder:
        yield folder
        lines = "".join(json.dumps(line) + "\n" for line in metrics)
        (folder / METRICS).write_text(lines, encoding="utf-8")


def refuse_foreign(output: str | Path) -> None:
    """Stop before anything is lost: only an older result of a small trainer is replaced.

    Raises:
        ConfigError: the folder holds something else.
    """
    folder = Path(output)
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / METRICS).is_file()
    ):
        raise ConfigError(
            f"{output}: holds files that are no small model; choose a new folder for --output"
        )


def build_muon(
    module: nn.Module, hidden: Sequence[nn.Parameter], *, lr: float, adamw_lr: float
) -> MuonWithAdamW:
    """Muon for the hidden weights and AdamW for all other parameters.

    A convolution's weight [out, in, h, w] is a matrix [out, in * h * w] to Muon: a view of the
    same memory, which takes over the gradient as soon as it is there.

    Args:
        module: all of its parameters are optimized.
        hidden: weights with two or four axes, in contiguous memory.
        lr: of Muon.
        adamw_lr: of AdamW.
    """
    taken = {id(weight) for weight in hidden}
    matrices = [weight if weight.ndim == 2 else _as_matrix(weight) for weight in hidden]
    others = [weight for weight in module.parameters() if id(weight) not in taken]
    return MuonWithAdamW(matrices, others, {**MUON_FIELDS, "lr": lr, "adamw_lr": adamw_lr})


def _as_matrix(weight: nn.Parameter) -> nn.Parameter:
    matrix = nn.Parameter(weight.data.view(len(weight), -1))

    def hand_over(weight: Tensor) -> None:
        if weight.grad is not None:
            matrix.grad = weight.grad.reshape(matrix.shape)
            weight.grad = None

    weight.register_post_accumulate_grad_hook(hand_over)
    return matrix


def fit(
    losses: Callable[[], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    num_steps: int,
    warmup_steps: int,
    log_every: int,
    description: str,
) -> list[dict[str, Any]]:
    """Run the optimizer with a cosine decay to 0.

    Args:
        losses: draws a batch; returns "loss", which is minimised, and other values to report.
        optimizer: holds the trained parameters.
        num_steps: optimizer steps.
        warmup_steps: steps of the linear rise of the learning rate.
        log_every: steps per line of metrics.
        description: name of the work on the progress display.

    Returns:
        Lines of metrics: step (from 1), lr, and the mean of each value since the line before.

    Raises:
        OpenSoraError: the loss is not finite.
    """
    schedule = LrSchedule(warmup_steps, "cosine", num_steps)
    lines: list[dict[str, Any]] = []
    sums: dict[str, float] = {}
    count = 0
    for step in progress(range(num_steps), description=description):
        lr = schedule.apply(optimizer, step)
        values = losses()
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        count += 1
        if (step + 1) % log_every == 0 or step + 1 == num_steps:
            if not math.isfinite(sums["loss"]):
                raise OpenSoraError(
                    f"{description}: the loss is not finite at step {step + 1}; lower lr"
                )
            means = {name: value / count for name, value in sums.items()}
            lines.append({"step": step + 1, "lr": lr, **means})
            log.info(
                "%s step=%d %s",
                *(description, step + 1),
                " ".join(f"{name}={value:.4g}" for name, value in means.items()),
            )
            sums, count = {}, 0
    return lines
