"""The scheduler of a model that takes a band of noise; encoding, which needs none, imports none."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from opensora.config.registry import SCHEDULERS, build_module
from opensora.core.errors import ConfigError
from opensora.models.open.bands import noise_band

_BANDED = "flow-match"


def scheduler_of(model: nn.Module, fields: Mapping[str, Any]) -> Any:
    """Build the scheduler that trains a model; of one of two it draws its timesteps alone.

    Args:
        model: that is trained.
        fields: type and keywords.

    Raises:
        ConfigError: a scheduler that knows no bands, or a field that can not be meant.
    """
    band = noise_band(model)
    if band is None:
        return build_module(fields, SCHEDULERS)
    if fields.get("type") != _BANDED:
        raise ConfigError(
            f"scheduler.type is {fields.get('type')!r} and the model takes the noise from {band[0]}"
            f" to {band[1]} alone; use {_BANDED!r}"
        )
    return build_module({"band": band, **fields}, SCHEDULERS)
