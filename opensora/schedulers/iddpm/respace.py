"""Short chains: which timesteps of the full chain are kept for sampling."""

from collections.abc import Sequence

import numpy as np

from opensora.core.errors import ConfigError


def space_timesteps(num_timesteps: int, section_counts: str | Sequence[int]) -> list[int]:
    """Choose timesteps of a chain, evenly within each of its sections.

    Args:
        num_timesteps: length of the full chain.
        section_counts: timesteps to keep per section, as numbers or "10,15,20"; the chain is cut
            into that many sections of equal length, and the first and last timestep of a section
            are kept. "ddimN" keeps every s-th timestep with the whole stride s that leaves N.

    Returns:
        Sorted timesteps.

    Raises:
        ConfigError: no whole stride leaves N, or a section is shorter than its count.

    Source: Nichol and Dhariwal 2021, arXiv:2102.09672, section 4; Song et al. 2020 for "ddimN".
    """
    if isinstance(section_counts, str):
        if section_counts.startswith("ddim"):
            return _strided(num_timesteps, _whole(section_counts[4:], section_counts))
        section_counts = [_whole(word, section_counts) for word in section_counts.split(",")]
    size, extra = divmod(num_timesteps, len(section_counts))
    start = 0
    timesteps: list[int] = []
    for section, count in enumerate(section_counts):
        length = size + (section < extra)
        if not 1 <= count <= length:
            raise ConfigError(
                f"timestep_respacing asks for {count} steps from a section of {length};"
                " ask for fewer."
            )
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        timesteps += [start + step for step in _rounded_steps(count, stride)]
        start += length
    return sorted(set(timesteps))


def respaced_betas(betas: np.ndarray, timesteps: Sequence[int]) -> np.ndarray:
    """Betas of the chain that visits only these timesteps: same cumulative products there."""
    kept = np.cumprod(1 - betas)[list(timesteps)]
    return 1 - kept / np.append(1.0, kept[:-1])


def _rounded_steps(count: int, stride: float) -> list[int]:
    """0, stride, 2 * stride, ... rounded half to even; summed, as the published chains are."""
    position = 0.0
    steps = []
    for _ in range(count):
        steps.append(round(position))
        position += stride
    return steps


def _strided(num_timesteps: int, count: int) -> list[int]:
    for stride in range(1, num_timesteps):
        steps = list(range(0, num_timesteps, stride))
        if len(steps) == count:
            return steps
    raise ConfigError(
        f"timestep_respacing 'ddim{count}': no whole stride leaves {count} of {num_timesteps}"
        " timesteps; choose a divisor."
    )


def _whole(word: str, whole_text: str) -> int:
    if not word.strip().isdecimal():
        raise ConfigError(
            f"timestep_respacing is {whole_text!r}; expected numbers such as '100', '10,15,20' or"
            " 'ddim50'."
        )
    return int(word)
