"""Fields of the optimizers, checked without any weight to optimize."""

from collections.abc import Mapping
from typing import Any

from opensora.config.values import check_value
from opensora.core.errors import ConfigError

ADAMW_FIELDS = {"lr": 1e-4, "weight_decay": 0.0, "betas": (0.9, 0.999), "eps": 1e-8}
MUON_FIELDS = {
    "lr": 0.02,
    "momentum": 0.95,
    "weight_decay": 0.0,
    "adamw_lr": 2e-3,
    "adamw_weight_decay": 0.0,
    "betas": (0.9, 0.95),
    "eps": 1e-8,
}
OPTIMIZERS: dict[str, dict[str, Any]] = {"adamw": ADAMW_FIELDS, "muon": MUON_FIELDS}


def check_optimizer(config: Mapping[str, Any]) -> str:
    """Check type, names and values of an optimizer's fields.

    Args:
        config: `type` "adamw" (the default) or "muon", and keywords of it.

    Returns:
        The type.

    Raises:
        ConfigError: unknown type or keyword, or a value that can not be meant.
    """
    kind = config.get("type", "adamw")
    if not isinstance(kind, str) or kind not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer.type is {kind!r}; expected one of {', '.join(OPTIMIZERS)} (adamw is fused"
            " on CUDA; ColossalAI's HybridAdam compiles itself at run time and is not offered)"
        )
    usual = OPTIMIZERS[kind]
    unknown = sorted(set(config) - {*usual, "type"})
    if unknown:
        raise ConfigError(
            f"optimizer: {kind} has no field {unknown[0]!r}; it has {', '.join(usual)}"
        )
    for name, value in config.items():
        place = f"optimizer.{name}"
        if name in ("betas", "momentum"):
            check_value(place, value, tuple[float, float] if name == "betas" else float)
            shares = value if name == "betas" else [value]
            is_met, expected = all(0 <= share < 1 for share in shares), "numbers in [0, 1)"
        elif name in ("lr", "adamw_lr"):
            check_value(place, value, float)
            is_met, expected = value > 0, "a number above 0"
        elif name != "type":
            check_value(place, value, float)
            is_met, expected = value >= 0, "a number of at least 0"
        else:
            continue
        if not is_met:
            raise ConfigError(f"{place} is {value!r}; expected {expected}")
    return kind
