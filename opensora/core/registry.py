"""Registries: a name in a config becomes an object."""

import difflib
import importlib
import inspect
from typing import Any

from mmengine.registry import Registry

from opensora.core.errors import ConfigError

MODELS = Registry(
    "model",
    locations=[
        "opensora.models.stdit",
        "opensora.models.dit",
        "opensora.models.latte",
        "opensora.models.pixart",
        "opensora.models.vae",
        "opensora.models.text_encoder",
    ],
)
SCHEDULERS = Registry(
    "scheduler",
    locations=["opensora.schedulers.rf", "opensora.schedulers.iddpm", "opensora.schedulers.dpms"],
)
DATASETS = Registry("dataset", locations=["opensora.datasets.latents"])
SCORERS = Registry("scorer", locations=["opensora.scorers"])
CAPTIONERS = Registry("captioner", locations=["opensora.curation.captioners"])
METRICS = Registry("metric", locations=["opensora.evaluation"])


def registered_names(registry: Registry) -> list[str]:
    """Import every module of a registry and return the names it knows, sorted."""
    for location in registry._locations:
        importlib.import_module(location)
    return sorted(registry.module_dict)


def build_module(config: dict[str, Any], registry: Registry, **defaults: Any) -> Any:
    """Build the object that `config["type"]` names with the other fields as keywords.

    Args:
        config: `type` and the keywords of the constructor.
        registry: where to look the type up.
        **defaults: keywords used where the constructor takes them and the config is silent.

    Raises:
        ConfigError: no type, an unknown type, or a keyword that the constructor does not take.
    """
    fields = dict(config)
    kind = fields.pop("type", None)
    names = registered_names(registry)
    if kind not in names:
        raise ConfigError(
            f"{registry.name}: unknown type {kind!r}{_suggest(str(kind), names)}; known: "
            + ", ".join(names)
        )
    target = registry.get(kind)
    assert target is not None  # the name was just found
    accepted = _keywords(target)
    unknown = sorted(set(fields) - set(accepted))
    if unknown:
        raise ConfigError(
            f"{registry.name} {kind}: unknown field {unknown[0]!r}{_suggest(unknown[0], accepted)}"
        )
    for name, value in defaults.items():
        if name in accepted:
            fields.setdefault(name, value)
    return target(**fields)


def _keywords(target: Any) -> list[str]:
    """Names that a class or a factory takes as keywords."""
    parameters = inspect.signature(target).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _suggest(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
