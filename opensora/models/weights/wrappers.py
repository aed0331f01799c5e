"""What trainers put around weights comes off: tables in tables, words in names, counters."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opensora.core.errors import CheckpointError

# tables inside a training checkpoint, best first: the average of the weights comes before them
_TABLES = (
    *("ema", "ema_state_dict", "model_ema", "params_ema"),
    *("state_dict", "state_dict_ema", "model_state_dict", "model", "module", "params", "app"),
)
# parts of names that a wrapper leaves wherever it stood: torch.compile, FSDP of torch and of
# fairscale, activation checkpointing, Lightning, DDP and averaging. No layer here has such a name.
_WORDS = frozenset(
    {"_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module"}
    | {"_forward_module", "module"}
)
# what a trainer calls the model that it holds; part of the names unless all weights have it
_HOLDERS = ("model", "diffusion_model", "net", "ema", "ema_model", "model_ema", "online_model")
_AVERAGES = ("ema", "ema_model", "model_ema")
_COUNTERS = frozenset({"step", "global_step", "n_averaged", "num_updates", "initted", "decay"})


def weights_table(content: Any) -> dict[str, Tensor]:
    """The weights in what a file holds, however deep; empty where there are none."""
    if not isinstance(content, dict):
        return {}
    for name in _TABLES:
        inner = weights_table(content.get(name))
        if any(value.ndim for value in inner.values()):
            return inner
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def without_wrappers(weights: dict[str, Tensor], source: str | Path) -> dict[str, Tensor]:
    """Weights under the names that the model itself gives them.

    Args:
        weights: by name.
        source: where they come from, for messages.

    Raises:
        CheckpointError: two weights of different values have one name without the wrappers.
    """
    weights = _without_words_in(weights, source)
    while True:
        counters = {name for name, value in weights.items() if _is_counter(name, value)}
        names = weights.keys() - counters
        average = _average_of(names)
        if average:
            weights = {name: value for name, value in weights.items() if name in average}
            continue
        holder = next((f"{h}." for h in _HOLDERS if all(n.startswith(f"{h}.") for n in names)), "")
        if not names or not holder:
            return {name: value for name, value in weights.items() if name in names}
        weights = {name.removeprefix(holder): weights[name] for name in weights if name in names}


def has_wrappers(name: str) -> bool:
    """Whether a name holds what a wrapper left."""
    return _without_words(name) != name or name.split(".")[0] in _HOLDERS


def _without_words(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WORDS) or name


def _is_counter(name: str, value: Tensor) -> bool:
    """Whether a tensor counts steps beside the weights; `logit_scale` of a CLIP does not."""
    if "." in name or value.numel() != 1:
        return False
    return name in _COUNTERS or not (value.ndim or value.is_floating_point())


def _average_of(names: set[str]) -> set[str]:
    """Names of the average, where the last step stands beside it under the same names."""
    tails: dict[str, set[str]] = {}
    for name in names:
        holder, _, tail = name.partition(".")
        tails.setdefault(holder, set()).add(tail)
    if len(tails) == 2 and tails.keys() <= set(_HOLDERS):
        for average in _AVERAGES:
            others = [tails[holder] for holder in tails if holder != average]
            if average in tails and others[0] <= tails[average]:
                return {f"{average}.{tail}" for tail in tails[average]}
    return set()


def _without_words_in(weights: dict[str, Tensor], source: str | Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        bare = _without_words(name)
        if bare in found and not torch.equal(found[bare], value):
            raise CheckpointError(
                f"{source}: {name} and another weight are both {bare} without what wrappers left"
                " in names, and differ; save the state_dict of one model"
            )
        found[bare] = value
    return found
