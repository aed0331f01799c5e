"""What two runs must have in common: every tensor and number of their state, to the last bit."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from opensora.training.start import TrainingRun

CLOSE = 1e-6  # what may lie between weights of two numbers of workers, of which sums are rounded
CURVE = ("step", "loss", "loss_ema", "grad_norm", "lr", "bucket")  # not how fast it went
_NUMBERS = ("step", "micro_batches")  # the smoothed loss is part of the curve

Difference = dict[str, Any]  # `what` differs, `step`, `largest` absolute difference


def parts_of(run: TrainingRun) -> dict[str, Tensor]:
    """What this worker has of the state of a run, by names that say where it belongs."""
    optimizer = run.engine.optimizer.optim.state_dict()
    state = {
        "model": run.engine.module.state_dict(),
        "ema": {} if run.ema is None else run.ema.average,
        "optimizer": optimizer["state"],
        "rates": [group.get("lr") for group in optimizer["param_groups"]],
        "counters": {name: getattr(run.counters, name) for name in _NUMBERS},
    }
    return dict(named("", state))


def named(place: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Tensors and numbers anywhere in mappings and lists, by their dotted names; of parts ours."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from named(f"{place}.{name}" if place else str(name), inner)
    elif isinstance(value, list | tuple):
        yield from named(place, dict(enumerate(value)))
    elif isinstance(value, DTensor):
        yield place, value.to_local()
    elif isinstance(value, Tensor):
        yield place, value.detach()
    elif isinstance(value, bool | int | float):
        yield place, torch.tensor(value, dtype=torch.float64)


def keep(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, also those that share their memory."""
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    save_file(copies, path)


def first_difference(
    found: Mapping[str, Tensor], path: Path, *, allowed: float | None = None
) -> Difference | None:
    """The first tensor that is not what was kept; None where all are.

    Args:
        found: of this run.
        path: what `keep` wrote of another one.
        allowed: largest difference that counts as none, of 1 and of the value; None for no bit.
    """
    with safe_open(path, framework="pt") as kept:
        names = set(kept.keys())
        for name in [*found, *sorted(names - found.keys())]:
            if name not in names or name not in found:
                return {"what": name, "largest": None}
            one, other = found[name].detach().cpu(), kept.get_tensor(name)
            if not _agree(one, other, allowed):
                return {"what": name, "largest": _largest(one, other)}
    return None


def largest_difference(found: Mapping[str, Tensor], path: Path) -> float:
    """The largest absolute difference of any tensor from what was kept of it."""
    with safe_open(path, framework="pt") as kept:
        names = set(kept.keys()) & found.keys()
        pairs = ((found[name].detach().cpu(), kept.get_tensor(name)) for name in sorted(names))
        return max((_largest(one, other) or 0.0 for one, other in pairs), default=0.0)


def _agree(one: Tensor, other: Tensor, allowed: float | None) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if allowed is None:
        # as bytes: a NaN equals itself, and 0 is not -0
        return torch.equal(_bytes(one), _bytes(other))
    return torch.allclose(one.double(), other.double(), rtol=allowed, atol=allowed)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _largest(one: Tensor, other: Tensor) -> float | None:
    if one.shape != other.shape or not one.numel():
        return None
    return float((one.double() - other.double()).abs().max())


def curve_of(metrics: Path) -> list[dict[str, Any]]:
    """The losses of a run, step by step, with what belongs to them."""
    lines = metrics.read_text(encoding="utf-8").splitlines()
    return [{name: json.loads(line).get(name) for name in CURVE} for line in lines]


def curves_differ(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> Difference | None:
    """Where two courses of the loss part; None where they are one."""
    for one, other in zip(found, expected, strict=False):
        for name in CURVE:
            if one[name] != other[name]:
                numbers = isinstance(one[name], float) and isinstance(other[name], float)
                largest = abs(one[name] - other[name]) if numbers else None
                return {"what": name, "step": other["step"], "largest": largest}
    if len(found) != len(expected):
        return {"what": "lines of metrics.jsonl", "step": len(found), "largest": None}
    return None
