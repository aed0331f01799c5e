"""Losses by bucket and by how noisy the clips were, summed on their device until a line is due."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from opensora.acceleration.workers import Workers
from opensora.schedulers.common import Model

BANDS = 4  # equal parts of the noise levels
Sums = dict[str, list[list[float]]]
"""Bucket -> per band the sum of the losses and the number of clips."""


class LossSums:
    """Sums of the losses of single clips since the last line.

    They are float64 sums of float32 numbers of similar size, which are exact: neither the order of
    the clips nor a stop in between changes a bit.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._carried: Sums = {}

    def add(self, bucket: str, levels: Tensor, losses: Tensor) -> None:
        """Take in clips of one bucket, without waiting for their device.

        Args:
            bucket: its name.
            levels: noise of each clip, [B] in [0, 1].
            losses: [B]; those that are not finite do not count.
        """
        bands = torch.arange(BANDS, device=losses.device)
        is_in = (levels.detach() * BANDS).long().clamp(0, BANDS - 1)[:, None] == bands  # [B, BANDS]
        values = losses.detach().double()[:, None]
        is_in = is_in & values.isfinite()
        sums = torch.stack((torch.where(is_in, values, 0.0).sum(0), is_in.double().sum(0)), dim=1)
        known = self._sums.get(bucket)
        self._sums[bucket] = sums if known is None else known + sums

    def carry(self, sums: Sums) -> None:
        """Go on from the sums of all workers that a checkpoint has; on one worker alone."""
        self._carried = dict(sums)

    def collected(self, workers: Workers) -> Sums:
        """Sums of all workers, on each; all take part. Those who share a video count it once."""
        own: list[Sums] = [self._carried]
        if self._sums and workers.place == 0:
            numbers = torch.stack(list(self._sums.values())).tolist()
            own.append(dict(zip(self._sums, numbers, strict=True)))
        return _added([sums for part in workers.gather(own) for sums in part])

    def clear(self) -> None:
        """Begin the next line."""
        self._sums, self._carried = {}, {}


class Timed:
    """A model that remembers at which timesteps it was asked.

    Args:
        model: answers.

    Attributes:
        timesteps: [B], of the last call.
    """

    timesteps: Tensor

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, x: Tensor, t: Tensor, /, **conditions: Any) -> Tensor:
        """What the model says of x [B, ...] at t [B]."""
        self.timesteps = t.detach()
        return self._model(x, t, **conditions)


def highest_timestep(scheduler: Any) -> int:
    """What the timesteps that a model is given stay below, or reach at pure noise."""
    chain = getattr(scheduler, "timestep_map", None)  # a shortened chain names those of the whole
    return int(max(chain)) + 1 if chain else int(scheduler.num_timesteps)


def means(sums: Sums, prefix: str = "loss") -> dict[str, dict[str, float | None]]:
    """Mean losses per noise band (None where no clip was in it) and per bucket, as of a line.

    Args:
        sums: of a number of clips.
        prefix: of the two names.
    """
    by_band = {
        band_name(band): _mean([bands[band] for bands in sums.values()]) for band in range(BANDS)
    }
    by_bucket = {bucket: _mean(sums[bucket]) for bucket in sorted(sums)}
    return {f"{prefix}_by_band": by_band, f"{prefix}_by_bucket": by_bucket}


def mean_of_all(sums: Sums) -> float | None:
    """Mean loss of all clips; None without any."""
    return _mean([pair for bands in sums.values() for pair in bands])


def band_name(band: int, noise: tuple[float, float] | None = None) -> str:
    """A band as its part of the noise levels, `0.25-0.50`; or of those from one to another."""
    low, high = noise or (0.0, 1.0)
    ends = (low + (high - low) * number / BANDS for number in (band, band + 1))
    return "-".join(f"{end:.2f}" for end in ends)


def _mean(pairs: list[list[float]]) -> float | None:
    count = sum(number for _, number in pairs)
    return math.fsum(total for total, _ in pairs) / count if count else None


def _added(parts: list[Sums]) -> Sums:
    found: Sums = {}
    for part in parts:
        for bucket, bands in part.items():
            known: Mapping[int, list[float]] = dict(enumerate(found.get(bucket, [])))
            found[bucket] = [
                [a + b for a, b in zip(known.get(k, [0.0, 0.0]), pair, strict=True)]
                for k, pair in enumerate(bands)
            ]
    return found
