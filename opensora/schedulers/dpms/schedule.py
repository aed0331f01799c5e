"""The noise schedule as functions of continuous time, and the times a solver visits."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

SkipType = Literal["time_uniform", "time_quadratic", "logSNR"]


class ContinuousSchedule:
    """A chain of N betas, interpolated linearly in log(alpha) over times (0, 1].

    Time (n + 1) / N is index n of the chain. All values are float64 on the CPU; alpha is the factor
    of the data and sigma the factor of the noise.

    Args:
        betas: float64 [N].

    Source: Lu et al. 2022, arXiv:2206.00927, appendix D.4.
    """

    def __init__(self, betas: np.ndarray) -> None:
        self.num_steps = len(betas)
        self.log_alphas = torch.from_numpy(0.5 * np.cumsum(np.log1p(-betas)))  # [N], falling
        self.times = torch.arange(1, self.num_steps + 1, dtype=torch.float64) / self.num_steps

    @property
    def end(self) -> float:
        """Time of the lowest noise, 1 / N."""
        return 1 / self.num_steps

    def log_alpha(self, time: Tensor) -> Tensor:
        """Logarithm of the data's factor at times [...]."""
        return _interpolate(time, self.times, self.log_alphas)

    def alpha(self, time: Tensor) -> Tensor:
        """Factor of the data at times [...]."""
        return self.log_alpha(time).exp()

    def sigma(self, time: Tensor) -> Tensor:
        """Factor of the noise at times [...]."""
        return (-torch.expm1(2 * self.log_alpha(time))).sqrt()

    def half_log_snr(self, time: Tensor) -> Tensor:
        """log(alpha / sigma) at times [...]; rises as time falls."""
        return self.log_alpha(time) - self.sigma(time).log()

    def time_of(self, half_log_snr: Tensor) -> Tensor:
        """Times [...] of values of log(alpha / sigma)."""
        log_alpha = -0.5 * torch.logaddexp(torch.zeros_like(half_log_snr), -2 * half_log_snr)
        return _interpolate(log_alpha, self.log_alphas.flip(0), self.times.flip(0))

    def model_timestep(self, time: Tensor) -> Tensor:
        """Timesteps of the network at times [...]: indices of the chain, between them fractions."""
        return (time - 1 / self.num_steps) * 1000


def solver_times(
    schedule: ContinuousSchedule,
    num_steps: int,
    skip_type: SkipType = "time_uniform",
    *,
    start: float = 1.0,
    end: float | None = None,
) -> Tensor:
    """Times [num_steps + 1] from `start` to `end` (the lowest noise unless given), falling."""
    bounds = torch.tensor([start, schedule.end if end is None else end], dtype=torch.float64)
    if skip_type == "logSNR":
        low, high = schedule.half_log_snr(bounds).tolist()
        return schedule.time_of(torch.linspace(low, high, num_steps + 1, dtype=torch.float64))
    power = 1 if skip_type == "time_uniform" else 2
    low, high = (bounds ** (1 / power)).tolist()
    return torch.linspace(low, high, num_steps + 1, dtype=torch.float64) ** power


def _interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear function through (knots, values), knots rising; ends are continued."""
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    left = right - 1
    slope = (values[right] - values[left]) / (knots[right] - knots[left])
    return values[left] + slope * (x - knots[left])
