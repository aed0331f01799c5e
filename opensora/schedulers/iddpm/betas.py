"""Noise schedules: the variance added at each step of the full chain."""

from collections.abc import Callable

import numpy as np

from opensora.core.errors import ConfigError

BETA_START, BETA_END = 1e-4, 2e-2  # for a chain of 1000 steps; Ho et al. 2020, section 4
MAX_BETA = 0.999  # of the cosine schedule, against a singular last step; Nichol, Dhariwal 2021

_COSINE_OFFSET = 0.008  # Nichol and Dhariwal 2021, eq. 17


def beta_schedule(
    name: str, num_steps: int, *, start: float = BETA_START, end: float = BETA_END
) -> np.ndarray:
    """Betas of a named schedule.

    Args:
        name: "linear" and "squaredcos_cap_v2" keep their end points for every length; "quad",
            "const", "warmup10", "warmup50" and "jsd" use start and end as they are.
        num_steps: length of the chain.
        start: first beta ("linear": of 1000 steps).
        end: last beta ("linear": of 1000 steps).

    Returns:
        float64 [num_steps], each in (0, 1].

    Raises:
        ConfigError: unknown name.
    """
    schedules: dict[str, Callable[[], np.ndarray]] = {
        "linear": lambda: np.linspace(start, end, num_steps) * (1000 / num_steps),
        "squaredcos_cap_v2": lambda: _cosine(num_steps),
        "quad": lambda: np.linspace(start**0.5, end**0.5, num_steps) ** 2,
        "const": lambda: np.full(num_steps, end),
        "warmup10": lambda: _warmup(num_steps, start, end, 0.1),
        "warmup50": lambda: _warmup(num_steps, start, end, 0.5),
        "jsd": lambda: 1 / np.linspace(num_steps, 1, num_steps),  # Sohl-Dickstein et al. 2015
    }
    if name not in schedules:
        known = ", ".join(schedules)
        raise ConfigError(f"noise_schedule is {name!r}; expected one of {known}.")
    return schedules[name]()


def _cosine(num_steps: int) -> np.ndarray:
    """Betas whose cumulative product falls as a squared cosine."""
    edges = np.arange(num_steps + 1) / num_steps
    angle = (edges + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * np.pi / 2
    alphas_cumprod = np.cos(angle) ** 2
    return np.minimum(1 - alphas_cumprod[1:] / alphas_cumprod[:-1], MAX_BETA)


def _warmup(num_steps: int, start: float, end: float, fraction: float) -> np.ndarray:
    """Constant betas after a linear rise over a fraction of the chain."""
    betas = np.full(num_steps, end)
    rise = int(num_steps * fraction)
    betas[:rise] = np.linspace(start, end, rise)
    return betas
