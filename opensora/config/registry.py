"""Registries: a name in a config becomes an object."""

import importlib
import inspect
import pkgutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_origin

from mmengine.registry import Registry

from opensora.config.values import check_value
from opensora.core.errors import ConfigError, did_you_mean

PACKAGE = Path(__file__).parents[1]


def families(package: str, *, shared: Collection[str] = ()) -> list[str]:
    """Dotted names of the folders of a package of `opensora`, found without importing any.

    Args:
        package: such as "models".
        shared: folders that register nothing because all others use them.
    """
    found = pkgutil.iter_modules([str(PACKAGE / package)])
    return [
        f"{PACKAGE.name}.{package}.{module.name}"
        for module in found
        if module.ispkg and module.name not in shared
    ]


_SCOPE = PACKAGE.name  # else each registry looks through all loaded modules for it
MODELS = Registry("model", scope=_SCOPE, locations=families("models", shared=("layers", "weights")))
SCHEDULERS = Registry("scheduler", scope=_SCOPE, locations=families("schedulers"))
DATASETS = Registry(
    "dataset", scope=_SCOPE, locations=["opensora.datasets.stored", "opensora.datasets.online"]
)
SCORERS = Registry("scorer", scope=_SCOPE, locations=["opensora.curation.scores"])
CAPTIONERS = Registry("captioner", scope=_SCOPE, locations=["opensora.curation.captions"])
READERS = Registry("reader", scope=_SCOPE, locations=["opensora.curation.readers"])
METRICS = Registry("metric", scope=_SCOPE, locations=["opensora.evaluation"])

# field of a training or sampling config -> where its type is looked up
PARTS = {
    "model": MODELS,
    "vae": MODELS,
    "text_encoder": MODELS,
    "scheduler": SCHEDULERS,
    "dataset": DATASETS,
}
_ENCODERS = ("vae", "text_encoder")  # None in a field of theirs is left to the workflow


def registered_names(registry: Registry) -> list[str]:
    """Import every module of a registry and return the names it knows, sorted."""
    for location in registry._locations:
        importlib.import_module(location)
    return sorted(registry.module_dict)


def build_module(config: Mapping[str, Any], registry: Registry, **defaults: Any) -> Any:
    """Build the object that `config["type"]` names with the other fields as keywords.

    Args:
        config: `type` and the keywords of the constructor.
        registry: where to look the type up.
        **defaults: keywords used where the constructor takes them and the config is silent.

    Raises:
        ConfigError: no type, an unknown type, or a keyword that the constructor does not take.
    """
    accepted = check_fields(config, registry)
    target = registry.module_dict[config["type"]]
    fields = {name: value for name, value in config.items() if name != "type"}
    for name, value in defaults.items():
        if name in accepted:
            fields.setdefault(name, value)
    return target(**fields)


def check_fields(
    config: Mapping[str, Any], registry: Registry, *, place: str | None = None
) -> list[str]:
    """Check names and plain values against the constructor, without building anything.

    Args:
        config: `type` and the keywords of the constructor.
        registry: where to look the type up.
        place: what the config is called in a message; None = the name of the registry.

    Returns:
        The keywords that the constructor takes.

    Raises:
        ConfigError: no type, an unknown type, a keyword that the constructor does not take, or a
            value that it can not mean.
    """
    kind, place = config.get("type"), place or registry.name
    names = registered_names(registry)
    if kind not in names:
        raise ConfigError(
            f"{place}: unknown type {kind!r}{did_you_mean(str(kind), names)}; known: "
            + ", ".join(names)
        )
    accepted = _keywords(registry.module_dict[kind])  # Registry.get would load torch
    for name, value in config.items():
        if name == "type":
            continue
        if name not in accepted:
            raise ConfigError(
                f"{place} {kind}: unknown field {name!r}{did_you_mean(name, accepted)}"
            )
        is_a_choice = accepted[name] in (int, float, bool) or get_origin(accepted[name]) is Literal
        if value is None and not is_a_choice:
            continue  # of the reference: to be given on the command line
        try:
            check_value(name, value, accepted[name])
        except ConfigError as error:
            raise ConfigError(f"{place} {kind}: {error}") from error
    return list(accepted)


def check_parts(config: Mapping[str, Any]) -> None:
    """Check the parts of a training or sampling config before anything is loaded.

    A part without a type is left to the code that completes it: a sampling config may name only
    what differs from the model that was trained.

    Raises:
        ConfigError: an unknown type, or a field that its constructor does not take.
    """
    for name, registry in PARTS.items():
        part = config.get(name)
        if isinstance(part, Mapping) and "type" in part:
            if name in _ENCODERS:
                part = {field: value for field, value in part.items() if value is not None}
            check_fields(part, registry, place=name)


def _keywords(target: Any) -> dict[str, Any]:
    """What a class or a factory takes as keywords: name -> annotation."""
    parameters = inspect.signature(target).parameters.values()
    taken = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {p.name: p.annotation for p in taken}
