"""Services outside that get each line of metrics too: TensorBoard, Weights & Biases."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from opensora.core.errors import ConfigError
from opensora.core.io import write_text

Send = Callable[[dict[str, Any]], None]
_WANDB_ID = "wandb_id"


def open_loggers(
    names: list[str], config: dict[str, Any], folder: Path, *, step: int
) -> Send | None:
    """Start loggers; returns the function that hands lines to all of them, None without any.

    Args:
        names: of `LOGGERS`.
        config: of the run.
        folder: of its state; theirs lie there as well.
        step: steps already done; a curve goes on behind them.

    Raises:
        ConfigError: the package of one is not installed.
    """
    sends = [LOGGERS[name](config, folder, step) for name in dict.fromkeys(names)]
    if not sends:
        return None

    def send(line: dict[str, Any]) -> None:
        numbers = dict(_flat(line))
        for each in sends:
            each(numbers)

    return send


def _open_tensorboard(config: dict[str, Any], folder: Path, step: int) -> Send:
    """Write event files below `folder`; points behind `step` of a run that was killed go."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "loggers names 'tensorboard', which needs the package: pip install"
            " opensora[tensorboard], or leave it out of loggers"
        ) from error
    writer = SummaryWriter(  # type: ignore[no-untyped-call]
        str(folder / "tensorboard"), purge_step=step + 1 if step else None
    )

    def send(line: dict[str, Any]) -> None:
        for name, value in line.items():
            if name != "step":
                writer.add_scalar(name, value, line["step"])  # type: ignore[no-untyped-call]
        writer.flush()  # type: ignore[no-untyped-call]

    return send


def _open_wandb(config: dict[str, Any], folder: Path, step: int) -> Send:
    """Send to one run of Weights & Biases, the same after a resume."""
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            "wandb=True needs the package: pip install opensora[wandb], or set wandb=False and"
            " leave it out of loggers"
        ) from error
    place = folder / _WANDB_ID
    if not step or not place.is_file():
        write_text(place, uuid.uuid4().hex)
    run = wandb.init(
        **{"project": "opensora", "name": folder.parent.name, "dir": str(folder)},
        **{"config": config, "id": place.read_text(encoding="utf-8"), "resume": "allow"},
    )
    return lambda line: run.log(line, step=line["step"])


LOGGERS: Mapping[str, Callable[[dict[str, Any], Path, int], Send]] = {
    "tensorboard": _open_tensorboard,
    "wandb": _open_wandb,
}


def _flat(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a line, those inside of others as `loss_by_band/0.25-0.50`."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value
