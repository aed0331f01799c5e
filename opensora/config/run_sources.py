"""The sources of a run: each with what it leaves out of the run's own settings, checked.

A run without `sources` has one, without a name: its `videos`, or the demo world.
"""

import copy
import hashlib
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from opensora.config.endpoint import check_asked
from opensora.config.registry import READERS, registered_names
from opensora.config.sources import check_rates, given_rates
from opensora.core.errors import ConfigError, did_you_mean

INHERITED = ("captions", "filters", "keep_if", "scenes", "clips", "validation_fraction")
_OF_VIDEOS = ("captions", "scenes", "clips")
_OF_MANIFESTS = ("root", "format")
_INPUTS = ("videos", "manifest", "fetch")
_OF_REENCODED = ("fps", "short_side")  # of clips; a copy keeps what the source has
_MOST_SHARDS = 10_000
_TABLE = "table"  # the layout that is no reader's

Source = dict[str, Any]
Fill = Callable[[Any, dict[str, Any]], None]  # defaults of a part of the schema


def settle_sources(config: dict[str, Any], schema: dict[str, Any], fill: Fill) -> None:
    """Check the sources of a run, and give each what it leaves out.

    Args:
        config: of the workflow, with its defaults; changed in place.
        schema: of it.
        fill: what fills defaults into a value by its schema.

    Raises:
        ConfigError: names source and field, and says what to do.
    """
    names = [source["name"] for source in config["sources"]]
    for name in names:
        if names.count(name) > 1:
            raise _error(name, "two sources have this name; give each its own")
    for source in config["sources"]:
        _check_input(source, config)
        for field in INHERITED:
            if source["manifest"] and field in _OF_VIDEOS:
                continue
            if source.get(field) is None:
                source[field] = copy.deepcopy(config[field])
            elif field in _OF_VIDEOS:
                fill(source[field], schema["properties"][field])
    check_rates(given_rates(config["sources"]), "workflow config: sources")
    shards = len(config["sources"]) * config["num_shards"]
    if shards > _MOST_SHARDS:
        raise ConfigError(
            f"workflow config: sources: {len(names)} sources of num_shards {config['num_shards']}"
            f" make {shards:,} shards, and a run has up to {_MOST_SHARDS:,}; lower num_shards"
        )


def _check_input(source: Source, config: dict[str, Any]) -> None:
    """One of `_INPUTS`, which is there, and nothing that has no effect beside it."""
    name, manifest, fetched = source["name"], source["manifest"], source["fetch"]
    given = [field for field in _INPUTS if source[field]]
    if len(given) != 1:
        what = " and ".join(f"`{field}`" for field in given) or "none of its inputs"
        raise _error(
            name,
            f"gives {what}; it needs one: `videos`, `manifest` of ready clips, or `fetch` with a"
            " list of addresses",
        )
    places = [fetched["list"]] if fetched else [manifest] if manifest else source["videos"]
    for place in places:
        if not any(mark in place for mark in "*?[") and not Path(place).exists():
            raise _error(name, f"{given[0]}: {place!r} does not exist")
    for field in _OF_VIDEOS if manifest else _OF_MANIFESTS:
        if source.get(field) is not None:
            beside = "`manifest`, whose rows are clips" if manifest else f"`{given[0]}`"
            raise _error(name, f"{field} has no effect beside {beside}; leave it out")
    if manifest and config["captions"]["per_clip"] > 1:
        raise _error(
            name,
            f"captions.per_clip {config['captions']['per_clip']} does not go with `manifest`, which"
            " has one caption a clip; leave per_clip out",
        )
    own = (source.get("captions") or {}).get("per_clip")
    if own is not None and own != config["captions"]["per_clip"]:
        raise _error(name, "captions.per_clip is the same in all sources; give it to the run")
    if own is None and source.get("captions"):
        source["captions"]["per_clip"] = config["captions"]["per_clip"]
    check_format(source["format"], f"workflow config: sources: {name}")
    check_root(source.get("root"), f"workflow config: sources: {name}")


def check_root(root: str | None, place: str) -> None:
    """Refuse a folder for relative paths that is not there.

    Raises:
        ConfigError: names it, after the place.
    """
    if root and not Path(root).is_dir():
        raise ConfigError(f"{place}: root: {root!r} is no folder that exists")


def check_format(layout: str | None, place: str) -> None:
    """Refuse a layout of ready clips that no reader takes.

    Raises:
        ConfigError: names the nearest one.
    """
    if layout in (None, _TABLE):
        return
    known = [_TABLE, *registered_names(READERS)]
    if layout not in known:
        hint = did_you_mean(str(layout), known) or f"; known: {', '.join(known)}"
        raise ConfigError(f"{place}: format: there is no layout {layout!r}{hint}")


def settle_clips(clips: dict[str, Any], given: dict[str, Any], place: str = "") -> None:
    """Take out what clips do not have: sound, rate and size; refuse it where it was asked for."""
    if clips["audio"] == "drop":
        clips.pop("audio")  # as if nobody had said so: no rule runs again
    if clips["mode"] != "copy":
        return
    for name in _OF_REENCODED:
        if given.get(name) is not None:
            raise ConfigError(
                f"workflow config: {place}clips: {name} {given[name]} has no effect with mode copy,"
                " which keeps rate and size of the source; leave it out, or set mode reencode"
            )
        clips.pop(name, None)


def check_captions(captions: dict[str, Any], place: str = "") -> None:
    """Several captions of a clip come from files alone, and a server is asked by `openai`."""
    check_asked(captions, f"workflow config: {place}captions")
    if captions["per_clip"] > 1 and captions["captioner"] != "sidecar":
        raise ConfigError(
            f"workflow config: {place}captions.per_clip {captions['per_clip']} has no effect with"
            f" captioner {captions['captioner']}, which gives one caption a clip; leave it out"
        )


def _error(name: str, sentence: str) -> ConfigError:
    return ConfigError(f"workflow config: sources: {name}: {sentence}")


def sources_of(config: Mapping[str, Any]) -> list[Source]:
    """The sources in the order of their shards: those of videos before those of ready clips."""
    if not config.get("sources"):
        return [{"name": None, **{name: config.get(name) for name in ("videos", *INHERITED)}}]
    return sorted(config["sources"], key=lambda source: bool(source["manifest"]))


def num_shards_of(config: Mapping[str, Any]) -> int:
    """Shards of all sources, each of which has `num_shards`."""
    return len(sources_of(config)) * int(config["num_shards"])


def inputs_of(config: Mapping[str, Any]) -> list[str]:
    """All videos that a run reads."""
    return [name for source in sources_of(config) for name in source["videos"]]


def fetched_sources(config: Mapping[str, Any]) -> list[Source]:
    """Those whose videos a job brings here."""
    return [source for source in sources_of(config) if source.get("fetch")]


def captions_of(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the clips of each source of videos get their captions."""
    return [source["captions"] for source in sources_of(config) if not source.get("manifest")]


def rules_of_sources(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What build-manifest is told of each source."""
    fields = ("filters", "keep_if", "validation_fraction")
    return {
        source["name"]: {field: source[field] for field in fields} for source in config["sources"]
    }


@lru_cache(maxsize=64)
def files_below(folder: str) -> str:
    """A hash of names, sizes and times of all files below a folder."""
    digest = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            try:
                facts = os.stat(path)
            except OSError:
                continue
            words = (os.path.relpath(path, folder), facts.st_size, facts.st_mtime_ns)
            digest.update(os.fsencode("\0".join(map(str, words))) + b"\n")
    return digest.hexdigest()[:16]
