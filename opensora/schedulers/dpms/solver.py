"""DPM-Solver++ updates on data predictions (Lu et al. 2022, arXiv:2211.01095)."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from opensora.schedulers.dpms.schedule import ContinuousSchedule, SkipType, solver_times
from opensora.schedulers.sampling import Display

Denoise = Callable[[Tensor, Tensor], Tensor]
"""denoise(x [B, ...], time [] float64) -> predicted data [B, ...]."""

Method = Literal["multistep", "singlestep"]
FEW_STEPS = 10  # below, the last steps are taken with lower order, which is more stable


def solve(
    denoise: Denoise,
    x: Tensor,
    schedule: ContinuousSchedule,
    *,
    num_steps: int,
    order: int = 2,
    skip_type: SkipType = "time_uniform",
    method: Method = "multistep",
    display: Display = iter,
) -> Tensor:
    """Integrate from pure noise to the lowest noise with num_steps evaluations of denoise.

    Args:
        denoise: predicts the data.
        x: noise [B, ...].
        schedule: alpha and sigma over time.
        num_steps: evaluations.
        order: 1, 2 or 3 for "multistep"; 1 or 2 for "singlestep".
        skip_type: spacing of the times.
        method: "multistep" reuses earlier evaluations, "singlestep" looks inside each step.
        display: wraps the steps to show progress.

    Returns:
        [B, ...].
    """
    if method == "singlestep":
        return _solve_singlestep(denoise, x, schedule, num_steps, order, skip_type, display)
    times = solver_times(schedule, num_steps, skip_type)
    data: list[Tensor] = []  # predictions at the last `order` times, the newest last
    for step in display(range(1, num_steps + 1)):
        data = [*data, denoise(x, times[step - 1])][-order:]
        left = num_steps + 1 - step if num_steps < FEW_STEPS else order
        used = min(len(data), left)
        x = multistep_update(x, data[-used:], times[step - used : step + 1], schedule)
    return x


def multistep_update(
    x: Tensor, data: Sequence[Tensor], times: Tensor, schedule: ContinuousSchedule
) -> Tensor:
    """One step from times[-2] to times[-1] of order len(data).

    Args:
        x: [B, ...] at times[-2].
        data: predictions at times[:-1], 1 to 3 of them.
        times: [len(data) + 1], falling.
        schedule: alpha and sigma over time.

    Returns:
        [B, ...] at times[-1].

    Source: Lu et al. 2022, arXiv:2211.01095, eq. 8 and algorithm 2; order 3 in the authors' code.
    """
    snr = schedule.half_log_snr(times)
    sigma, alpha = schedule.sigma(times), schedule.alpha(times[-1])
    h = snr[-1] - snr[-2]
    phi_1 = torch.expm1(-h)
    newest = data[-1]
    x = _scale(sigma[-1] / sigma[-2], x) - _scale(alpha * phi_1, newest)
    if len(data) == 1:
        return x
    ratio_0 = (snr[-2] - snr[-3]) / h
    slope_0 = _scale(1 / ratio_0, newest - data[-2])
    if len(data) == 2:
        return x - _scale(0.5 * alpha * phi_1, slope_0)
    ratio_1 = (snr[-3] - snr[-4]) / h
    slope_1 = _scale(1 / ratio_1, data[-2] - data[-3])
    bend = _scale(1 / (ratio_0 + ratio_1), slope_0 - slope_1)
    slope = slope_0 + _scale(ratio_0, bend)
    phi_2 = phi_1 / h + 1
    phi_3 = phi_2 / h - 0.5
    return x + _scale(alpha * phi_2, slope) - _scale(alpha * phi_3, bend)


def _solve_singlestep(
    denoise: Denoise,
    x: Tensor,
    schedule: ContinuousSchedule,
    num_steps: int,
    order: int,
    skip_type: SkipType,
    display: Display,
) -> Tensor:
    """Steps of two evaluations (and a last one of one when num_steps is odd), or of one each."""
    orders = [order] * (num_steps // order) + [1] * (num_steps % order)
    if skip_type == "logSNR":
        times = solver_times(schedule, len(orders), skip_type)
    else:
        ends = torch.tensor([0, *orders]).cumsum(0)
        times = solver_times(schedule, num_steps, skip_type)[ends]
    for step in display(range(len(orders))):
        now, then = times[step], times[step + 1]
        data = denoise(x, now)
        if orders[step] == 1:
            x = multistep_update(x, [data], torch.stack([now, then]), schedule)
            continue
        middle = solver_times(schedule, 2, skip_type, start=float(now), end=float(then))[1]
        x_middle = multistep_update(x, [data], torch.stack([now, middle]), schedule)
        snr = schedule.half_log_snr(torch.stack([now, middle, then]))
        ratio = (snr[1] - snr[0]) / (snr[2] - snr[0])
        change = denoise(x_middle, middle) - data
        factor = schedule.alpha(then) * torch.expm1(snr[0] - snr[2])
        x = multistep_update(x, [data], torch.stack([now, then]), schedule)
        x = x - _scale(0.5 / ratio * factor, change)  # Lu et al. 2022, algorithm 1
    return x


def _scale(factor: Tensor, x: Tensor) -> Tensor:
    """Scale by a float64 number on the CPU, keeping the dtype and device of x."""
    return float(factor) * x
