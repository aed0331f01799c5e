"""The fields of `lora` in a training config. Nothing here loads torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from opensora.core.errors import ConfigError, did_you_mean

MERGED, SEPARATE = "merged", "separate"


@dataclass(frozen=True)
class LoraSettings:
    """Which layers get adapters, and of which rank.

    Attributes:
        rank: rows of A and columns of B.
        targets: names of linear layers, or ends of them: "qkv" means all of that name.
        alpha: the adapters count alpha / rank; the rank where it is left out.
        modules_to_save: names, or ends of them, of parameters and modules that are trained whole.
        output: "merged" writes whole weights and the adapters, "separate" the adapters alone.
    """

    rank: int
    targets: tuple[str, ...]
    alpha: float
    modules_to_save: tuple[str, ...] = ()
    output: str = MERGED

    @property
    def scaling(self) -> float:
        """Factor of B A."""
        return self.alpha / self.rank

    @classmethod
    def of(cls, given: Any) -> "LoraSettings":
        """Read and check the fields.

        Args:
            given: a mapping, as `lora` in a config.

        Raises:
            ConfigError: a field is unknown, missing, or has a value that can not be meant.
        """
        if not isinstance(given, Mapping):
            raise ConfigError(f"lora is {given!r}; expected dict(rank=16, targets=['qkv', ...])")
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                hint = did_you_mean(name, known) or ";"
                raise ConfigError(f"lora has no field {name!r}{hint} it has {', '.join(known)}")
        rank = given.get("rank")
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise ConfigError(f"lora.rank is {rank!r}; expected a whole number of at least 1")
        alpha = given.get("alpha", rank)
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < 1e9:
            raise ConfigError(f"lora.alpha is {alpha!r}; expected a number above 0")
        output = given.get("output", MERGED)
        if output not in (MERGED, SEPARATE):
            raise ConfigError(f"lora.output is {output!r}; expected {MERGED!r} or {SEPARATE!r}")
        targets = _names("targets", given.get("targets"))
        if not targets:
            raise ConfigError("lora.targets is empty; name linear layers, such as ['qkv', 'proj']")
        saved = _names("modules_to_save", given.get("modules_to_save", ()))
        return cls(rank, targets, float(alpha), saved, output)


def _names(field: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"lora.{field} is {value!r}; expected a list of names")
    return tuple(value)


def names_ending(
    wanted: Iterable[str], names: Iterable[str], field: str, kind: str
) -> frozenset[str]:
    """The names of a model that are one of the wanted names, or end with it.

    Args:
        wanted: such as "qkv" or "blocks.0.attn.qkv".
        names: dotted names of the model.
        field: of `lora`, for the message.
        kind: what they name, for the message.

    Raises:
        ConfigError: one means nothing; the nearest is named.
    """
    every = list(names)
    found: set[str] = set()
    for end in wanted:
        meant = [name for name in every if f".{name}".endswith(f".{end}")]
        if not meant:
            last = {name.rpartition(".")[2] for name in every}
            words = sorted(word for word in last if not word.isdecimal())
            hint = did_you_mean(end.rpartition(".")[2], words)
            raise ConfigError(
                f"lora.{field}: the model has no {kind} {end!r}"
                + (hint or f"; it has {', '.join(words)}")
            )
        found.update(meant)
    return frozenset(found)
