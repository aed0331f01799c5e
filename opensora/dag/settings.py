"""Check the workflow's YAML configuration against its schema and fill in defaults."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from opensora.config.run_sources import (
    check_captions,
    check_format,
    check_root,
    settle_clips,
    settle_sources,
)
from opensora.config.text_types import GIVEN_LENGTHS
from opensora.core.errors import ConfigError, did_you_mean
from opensora.core.io import write_text
from opensora.core.text import visible
from opensora.dag.layout import FIELD, with_layout
from opensora.dag.resources import check_resources

# of the machine; what is written for people beside the results; and of a config that a run saved
_NOT_SHOWN = (
    "resources",
    "container",
    "nodes",
    "gpus",
    "processes",
    "milestones",
    "manifest_csv",
    FIELD,
)
_WHERE_GIVEN = ("sources", "format")  # shown only there: most runs have none
# the C reader, where PyYAML has it, takes a fifth of the time, which each job pays
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEMO_CLIP, _USUAL_CLIP = "configs/demo/clip.py", "timm/vit_large_patch14_clip_224.openai"
_OF_LINES, _BREAKS = ("captions.prompt",), "\n\t"  # a text for a model may have several lines
# settings of the stages before assign_buckets
_CURATION = (
    *("scenes", "clips", "captions", "scorers", "scorer_options", "filters", "keep_if"),
    *("licences", "dedup", "max_clips_per_source", "prefer"),
)


def check_workflow_config(config: dict[str, Any], schema_path: str | Path) -> None:
    """Fill defaults into `config` in place and check every name and value.

    Raises:
        ConfigError: names the field, what was expected and, for a misspelt key, the nearest one.
    """
    schema = yaml.load(Path(schema_path).read_text(encoding="utf-8"), _YAML)
    given = copy.deepcopy(config.get("clips"))
    _fill_defaults(config, schema)
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(config), key=lambda error: list(map(str, error.path)))
    if errors:
        raise ConfigError("workflow config: " + _sentence(errors[0]))
    _check_words(config, "")
    _check_whole(config)
    _check_entry(config, schema)
    _check_stages(config)
    _settle_sources(config, schema)
    check_resources(config)
    settle_clips(config["clips"], given or {})


def report_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that a report shows: those that decide a result."""
    stages = [
        {name: value for name, value in stage.items() if name not in _NOT_SHOWN}
        for stage in config["stages"]
    ]
    others = {
        name: value
        for name, value in config.items()
        if name not in _NOT_SHOWN and (value or name not in _WHERE_GIVEN)
    }
    found = {**others, "stages": {stage.pop("name"): stage for stage in stages}}
    if config.get("sources"):
        found["sources"] = {source["name"]: source for source in config["sources"]}
    return found


def save_workflow_config(config: dict[str, Any], path: str | Path) -> None:
    """Write the checked config and the layout beside the results of its run."""
    write_text(path, with_layout(config))


def is_local_path(name: str) -> bool:
    """Tell a local folder from a hub name such as `stabilityai/sd-vae-ft-ema`."""
    return name.startswith((".", "/", "~")) or Path(name).exists()


def _settle_sources(config: dict[str, Any], schema: dict[str, Any]) -> None:
    """Give each source what it leaves out; what it says itself is checked as the run's."""
    given = [copy.deepcopy(source.get("clips")) for source in config["sources"]]
    settle_sources(config, schema, _fill_defaults)
    for source, clips in zip(config["sources"], given, strict=True):
        if source["manifest"]:
            continue
        place = f"sources: {source['name']}: "
        check_captions(source["captions"], place)
        _check_scenes(source["scenes"], schema, place)
        settle_clips(source["clips"], clips or {}, place)


def _check_words(value: Any, place: str) -> None:
    """Refuse texts that a command would take for an option, or that hide or break a line.

    The schema's patterns alone do not: `$` also fits before a line break at the end.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            _check_words(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for k, item in enumerate(value):
            _check_words(item, f"{place}.{k}")
    elif isinstance(value, str):
        if value.startswith("-"):
            raise ConfigError(
                f"workflow config: {place}: {visible(value)!r} begins with a dash, as options of"
                " commands do; write ./-name for a file, and (0 - column) in a condition"
            )
        if visible(value, keep=_BREAKS if place in _OF_LINES else "") != value:
            raise ConfigError(
                f"workflow config: {place}: '{visible(value)}' holds a line break or another"
                " character that is not shown; take it out"
            )


def _check_whole(config: dict[str, Any]) -> None:
    """Check what a schema can not say."""
    given = [name for name in ("videos", "sources", "demo", "manifest") if config[name]]
    if len(given) != 1:
        raise ConfigError(
            "workflow config: give either `videos` (folders, globs or lists of your own), `sources`"
            " (several of them), `demo` (the built-in world) or `manifest` (ready clips), not both"
            f" and not neither; given: {' and '.join(given) or 'none'}"
        )
    if not config["demo"] and not config["sample"]["prompts"]:
        raise ConfigError(
            "workflow config: sample.prompts: name a text file with a prompt a line, or a table of"
            " prompts"
        )
    _check_container(config["container"])
    _check_text_encoder(config)
    if config["encode"]["image_encoder"] and not config["encode"]["given"]:
        raise ConfigError(
            "workflow config: encode.image_encoder has no effect without encode.given; set it to"
            " first or first_last"
        )
    _check_clip(config)
    check_captions(config["captions"])
    names = [stage["name"] for stage in config["stages"]]
    if len(set(names)) != len(names):
        raise ConfigError(f"workflow config: stages: names must differ, got {', '.join(names)}")
    for name in config["sample"]["stages"]:
        if name not in names:
            raise ConfigError(
                f"workflow config: sample.stages: no stage {name!r}; stages: {', '.join(names)}"
            )
    for name in config["videos"]:
        if not any(mark in name for mark in "*?[") and not Path(name).exists():
            raise ConfigError(f"workflow config: videos: {name!r} does not exist")


def _check_stages(config: dict[str, Any]) -> None:
    """Refuse settings of stages that have no effect, and milestones in another order."""
    for stage in config["stages"]:
        steps = stage["milestones"]
        if steps != sorted(set(steps)):
            raise ConfigError(
                f"workflow config: stages: {stage['name']}: milestones {steps} must rise; sort them"
                " and give each once"
            )
        if stage["gpus"] and stage["processes"] != 1:
            raise ConfigError(
                f"workflow config: stages: {stage['name']}: processes {stage['processes']} has no"
                f" effect beside gpus {stage['gpus']}, which start a process each; leave it out"
            )
    earlier: list[str] = []
    for stage in config["stages"]:
        if stage["other"] is not None and stage["other"] not in earlier:
            raise ConfigError(
                f"workflow config: stages: {stage['name']}: other is {stage['other']!r}; expected a"
                f" stage before it, one of {', '.join(earlier) or 'none'}"
            )
        earlier.append(stage["name"])
    for before, stage in zip(config["stages"], config["stages"][1:], strict=False):
        if stage["load"] is not None and stage["other"] is None:
            raise ConfigError(
                f"workflow config: stages: {stage['name']}: load {stage['load']!r} has no effect,"
                f" because it starts from the weights of {before['name']}; leave it out, or give"
                " it to the first stage"
            )


def _check_entry(config: dict[str, Any], schema: dict[str, Any]) -> None:
    """Refuse settings of stages that are not run, and tables that are not there."""
    if config["manifest"]:
        if not Path(config["manifest"]).exists():
            raise ConfigError(f"workflow config: manifest: {config['manifest']!r} does not exist")
        _check_idle(config, schema, _CURATION, "`manifest`, whose rows are clips already")
        check_format(config["format"], "workflow config")
        check_root(config["root"], "workflow config")
    for name in ("root", "format"):
        if config[name] and not config["manifest"]:
            raise ConfigError(f"workflow config: {name} belongs to `manifest`; leave it out")
    if config["scenes"]["table"] and config["demo"]:
        raise ConfigError("workflow config: scenes.table belongs to `videos`, not to `demo`")
    _check_scenes(config["scenes"], schema)


def _check_scenes(scenes: dict[str, Any], schema: dict[str, Any], place: str = "") -> None:
    """Refuse a table of scenes that is not there, and settings of a detector beside one."""
    if not scenes["table"]:
        return
    if not Path(scenes["table"]).is_file():
        raise ConfigError(f"workflow config: {place}scenes: {scenes['table']!r} does not exist")
    names = ("detector", "threshold", "min_scene_s", "transitions")
    part = schema["properties"]["scenes"]
    _check_idle(scenes, part, names, "`table`, which says where scenes are", place)


def _check_idle(
    values: dict[str, Any],
    schema: dict[str, Any],
    names: Sequence[str],
    beside: str,
    place: str = "",
) -> None:
    """Refuse fields that are set and have no effect; their defaults say nothing."""
    default: dict[str, Any] = {}
    _fill_defaults(default, schema)
    idle = [f"`{name}`" for name in names if values[name] != default[name]]
    if idle:
        verb, them = ("has", "it") if len(idle) == 1 else ("have", "them")
        raise ConfigError(
            f"workflow config: {place}{', '.join(idle)} {verb} no effect beside {beside}; leave"
            f" {them} out"
        )


def _check_text_encoder(config: dict[str, Any]) -> None:
    """Only what the type of the text encoder takes may be given."""
    fields, place = config["models"]["text_encoder"], "workflow config: models.text_encoder"
    if fields["type"] in GIVEN_LENGTHS and not fields["from_pretrained"]:
        raise ConfigError(
            f"{place}: type {fields['type']} has no small encoder that a run trains; give"
            " from_pretrained, the folder of a pipeline of diffusers or of its text_encoder"
        )
    if fields["type"] != "classes":
        if fields["num_classes"] is not None:
            raise ConfigError(
                f"{place}: num_classes has no effect with type {fields['type']}; leave it out"
            )
        return
    if fields["num_classes"] is None:
        raise ConfigError(f"{place}: type classes needs num_classes")
    unused = {"models.text_encoder.from_pretrained": fields["from_pretrained"]}
    unused |= {f"encode.{name}": config["encode"][name] for name in ("max_length", "int8")}
    for name, value in unused.items():
        if value:
            raise ConfigError(f"{place}: type classes has no use for {name}; leave it out")
    online = [stage["name"] for stage in config["stages"] if stage["online"]]
    if online:
        raise ConfigError(
            f"{place}: type classes is for stores, and stage {online[0]} is online; leave online"
            " out"
        )


def _check_container(image: str | None) -> None:
    """Refuse an image that is neither an address nor there."""
    if image and "://" not in image and not Path(image).exists():
        raise ConfigError(
            f"workflow config: container: {image!r} does not exist; build it from"
            " requirements/apptainer.def, or give an address such as docker://..."
        )


def _check_clip(config: dict[str, Any]) -> None:
    """Refuse what reads by a CLIP where none is named, and the demo's beside a given VAE.

    The demo's would be trained on that footage: what scores captions and samples would be small and
    have seen what it judges.
    """
    models, scorers = config["models"], config["scorers"]
    text = models["text_encoder"]
    reads = "the scorer match" if "match" in scorers and not config["manifest"] else None
    if text["type"] == "clip" and not text["from_pretrained"]:
        reads = "models.text_encoder of type clip without weights of its own"
    if reads and not (models["clip"]["from_pretrained"] or models["clip"]["config"]):
        raise ConfigError(
            f"workflow config: models.clip: names neither from_pretrained nor config, and {reads}"
            f" needs one; set from_pretrained to a CLIP such as {_USUAL_CLIP}, or config to"
            f" {_DEMO_CLIP} to train a small one"
        )
    small = not models["clip"]["from_pretrained"] and models["clip"]["config"] == _DEMO_CLIP
    if small and models["vae"]["from_pretrained"] and not config["demo"]:
        raise ConfigError(
            "workflow config: models.clip: names no weights beside models.vae.from_pretrained"
            f" {models['vae']['from_pretrained']!r}, so that the demo's CLIP would be trained on"
            " your footage and then judge it; set from_pretrained to a CLIP such as"
            f" {_USUAL_CLIP}, or config to one of your own"
        )


def _fill_defaults(value: Any, schema: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if "default" in part and (name not in value or value[name] is None):
                value[name] = copy.deepcopy(part["default"])
            if name in value:
                _fill_defaults(value[name], part)
    elif isinstance(value, list) and "items" in schema:
        for item in value:
            _fill_defaults(item, schema["items"])


def _sentence(error: jsonschema.ValidationError) -> str:
    place = ".".join(map(str, error.path))
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        unknown = next(name for name in error.instance if name not in known)
        hint = did_you_mean(unknown, known) or f"; known: {', '.join(known)}"
        field = f"{place}.{unknown}" if place else str(unknown)
        return f"unknown field {field!r}{hint}"
    wanted = error.validator_value
    if "endpoint" in error.path:  # what was written there may be a key
        kinds = wanted if isinstance(wanted, list) else [wanted]
        expected = f": expected {' or '.join(kinds)}" if error.validator == "type" else ""
        return f"{place}: has a value that can not be used, and is not shown{expected}"
    if error.validator == "type" and wanted == "array" and isinstance(error.instance, str):
        return f"{place}: expected a list; write [{error.instance}]"
    return f"{place or 'top level'}: {error.message}"
