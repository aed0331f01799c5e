"""MMEngine configs as a rule reads them: resolved, and only the part that decides its result.

A comment, the order of lines and the time of a file then re-run nothing, while an edited `_base_`
re-runs what it changes. Nothing here loads torch; the 0.2 seconds of MMEngine are paid where a
rule with a config has a job.
"""

import importlib.util
import inspect
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from opensora.config.fields import ConfigKind
from opensora.config.groups import count_groups
from opensora.config.latent_grid import check_config_frames, run_grid
from opensora.config.parts import plan_part, sampling_part, training_part
from opensora.config.text_types import TEXT_LENGTHS, TRAINED_LENGTHS
from opensora.core.errors import ConfigError
from opensora.core.io import lines_of, sha256_file
from opensora.core.text_files import TextEncodingError, read_text
from opensora.dag.early import (
    check_curation,
    check_kinds,
    check_milestones,
    check_sample_size,
)
from opensora.tables.prompts import is_prompt_table, read_prompt_table

_URLS = ("http://", "https://")
_TRAINED = ("vae", "clip", "text_encoder")


def plan_fields(path: str, *, seed: int, epochs: int | None) -> dict[str, Any]:
    """What assign_buckets reads of a training config.

    Args:
        path: of the config.
        seed: of the run, instead of the config's.
        epochs: instead of the config's; None takes those.

    Raises:
        ConfigError: the config can not be read.
    """
    config = {**resolved(path, "train"), "seed": seed}
    return plan_part(config if epochs is None else {**config, "epochs": epochs})


def training_fields(path: str, *, seed: int, starts_itself: bool, online: bool) -> dict[str, Any]:
    """What train reads of a training config.

    Args:
        path: of the config.
        seed: of the run, instead of the config's.
        starts_itself: whether the config's `load` holds; else the workflow gives what to load.
        online: whether the stage encodes as it goes.

    Raises:
        ConfigError: the config can not be read.
    """
    config = {**resolved(path, "train"), "seed": seed}
    return training_part(config if starts_itself else {**config, "load": None}, online=online)


def weights_of(path: str, *, starts_itself: bool) -> list[str]:
    """Files and folders of weights that a training config starts from, and that are here."""
    config = resolved(path, "train")
    names = [(config.get("model") or {}).get("from_pretrained"), config.get("load")]
    return [name for name in names[: 2 if starts_itself else 1] if name and Path(name).exists()]


def encoder_fields(path: str, *, seed: int) -> dict[str, Any]:
    """What train_vae, train_clip or train_text_encoder reads of its config: everything."""
    return {**resolved(path), "seed": seed}


def sampling_fields(path: str) -> dict[str, Any]:
    """What sample reads of its config besides what the workflow gives it.

    Raises:
        ConfigError: the config can not be read.
    """
    found = sampling_part(resolved(path, "inference"))
    if (lora := found.get("lora")) and Path(lora).is_file():
        found["lora"] = sha256_file(lora)  # what it holds, wherever it lies
    return found


def reference_hashes(path: str, prompts: str | Path) -> dict[str, str]:
    """Content of the reference pictures and videos that a sampling config or its prompts name.

    Args:
        path: of the config.
        prompts: text file or table; where it is not there yet, nobody wrote references into it.

    Returns:
        Name as it is written -> hash. An address is fetched by the job, once, and has none.

    Raises:
        ConfigError: a file that is named is not there, or the prompts can not be read.
    """
    is_table = is_prompt_table(prompts)  # which takes the place of the config's references
    given = [] if is_table else resolved(path, "inference").get("reference_path") or []
    entries = [given] if isinstance(given, str) else list(given)
    is_there = Path(prompts).is_file()
    if is_there and is_table:
        for row in read_prompt_table(prompts):
            entries += [row.reference_path, _reference_behind(row.text)]
    elif is_there:
        try:
            text = read_text(Path(prompts))
        except TextEncodingError as error:
            raise ConfigError(str(error)) from error
        entries += map(_reference_behind, lines_of(text, odd_breaks=" "))
    names = [name.strip() for entry in entries if entry for name in str(entry).split(";")]
    found = {}
    for name in names:
        if name.startswith(_URLS):
            continue
        if not Path(name).is_file():
            raise ConfigError(
                f"reference_path {name!r}: no such file; give a video or an image on this disk, or"
                " take it out of the prompts"
            )
        found[name] = sha256_file(name)
    return found


def check_configs(config: dict[str, Any], repository: Path, run: str) -> None:
    """Read every MMEngine config that a run uses, so that a mistake is said before any job.

    Args:
        config: of the workflow, checked.
        repository: where relative paths of configs start.
        run: folder of the results.

    Raises:
        ConfigError: a config can not be read, or contradicts the workflow's.
    """
    check_curation(config)
    sample = str(repository / config["sample"]["config"])
    trained = {
        stage["config"]: resolved(str(repository / stage["config"]), "train")
        for stage in config["stages"]
    }
    sampling = resolved(sample, "inference")
    check_kinds(trained, config["sample"]["config"], sampling)
    for stage in config["stages"]:
        fields = trained[stage["config"]]
        check_milestones(stage, fields)
        _check_encoders(config, stage, fields, run)
        _check_groups(stage, fields)
        _check_results(stage, fields)
    for name, fields in trained_encoders(config, repository).items():
        model = config["models"][name]
        if fields:
            _check_trained_type(model, fields.get("type", "t5"))
    grid = run_grid(config, lambda path: resolved(str(repository / path)))
    for path, fields in trained.items():
        check_config_frames(fields, grid, path)
    check_sample_size(sampling, grid, config["sample"]["config"])
    reference_hashes(sample, config["sample"]["prompts"] or "")


def trained_encoders(config: dict[str, Any], repository: Path) -> dict[str, dict[str, Any]]:
    """The configs of the encoders that a run trains itself, by their names."""
    models = config["models"]
    return {
        name: resolved(str(repository / models[name]["config"]))
        for name in _TRAINED
        if models[name]["config"] and not models[name]["from_pretrained"]
    }


def contents_of(config: dict[str, Any], repository: Path) -> list[dict[str, Any]]:
    """The fields of every config that a run names."""
    stages = (resolved(str(repository / stage["config"]), "train") for stage in config["stages"])
    sample = resolved(str(repository / config["sample"]["config"]), "inference")
    return [*stages, sample, trained_encoders(config, repository)]


@cache
def resolved(path: str, kind: ConfigKind | None = None) -> dict[str, Any]:
    """Merge a config with its bases and bring old spellings to today's; not to be changed.

    Raises:
        ConfigError: no such file, or one that can not be read.
    """
    _spare_inspect()
    from opensora.config.canonical import canonical
    from opensora.config.load import load_config

    # the fields of parts are checked by the commands: to know them, torch must be loaded
    fields = load_config(path).to_dict()
    try:
        return canonical(fields, kind)[0]
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _spare_inspect() -> None:
    """Tell `inspect` where MMEngine's registries stand, or it resolves a thousand paths (0.1 s)."""
    found = importlib.util.find_spec("mmengine")
    for folder in (found and found.submodule_search_locations) or ():
        path = os.path.abspath(os.path.join(folder, "registry", "root.py"))
        inspect.modulesbyfile.setdefault(path, "mmengine.registry.root")  # type: ignore[attr-defined]


def _check_encoders(
    config: dict[str, Any], stage: dict[str, Any], fields: dict[str, Any], run: str
) -> None:
    """Refuse encoders of a stage's config that are not those of the run.

    Raises:
        ConfigError: names both values.
    """
    for name in ("vae", "text_encoder"):
        told = (fields.get(name) or {}).get("from_pretrained")
        given = config["models"][name]["from_pretrained"]
        used = given or f"{run}/models/{name}"
        if told and not _is_same(told, used):
            source = "that model" if given else "the one that the run trains"
            raise ConfigError(
                f"workflow config: stages: {stage['name']}: {stage['config']} names"
                f" {name}.from_pretrained {told!r} and models.{name}.from_pretrained is {given!r},"
                f" so that {source} is used; make them equal, or leave it out of the stage's config"
            )
    told = (fields.get("text_encoder") or {}).get("model_max_length")
    kind = config["models"]["text_encoder"]["type"]
    used = config["encode"]["max_length"] or TEXT_LENGTHS.get(kind)
    if told is not None and told != used:
        raise ConfigError(
            f"workflow config: stages: {stage['name']}: {stage['config']} names"
            f" text_encoder.model_max_length {told} and encode.max_length is {used}, which captions"
            " are encoded with; make them equal, or leave it out of the stage's config"
        )


def _check_groups(stage: dict[str, Any], fields: dict[str, Any]) -> None:
    """Refuse workers that do not form the groups in which a stage's config shares videos.

    Raises:
        ConfigError: names both numbers.
    """
    if (sp_size := fields.get("sp_size", 1)) == 1:
        return
    try:
        count_groups(stage["nodes"] * (stage["gpus"] or stage["processes"]), sp_size)
    except ConfigError as error:
        raise ConfigError(
            f"workflow config: stages: {stage['name']}: {stage['config']}: {error}"
        ) from error


def _check_results(stage: dict[str, Any], fields: dict[str, Any]) -> None:
    """Refuse a stage without the weights that sampling and the next stage read.

    Raises:
        ConfigError: names the field.
    """
    lora = fields.get("lora")
    if isinstance(lora, dict) and lora.get("output") == "separate":
        raise ConfigError(
            f"workflow config: stages: {stage['name']}: {stage['config']} has lora.output"
            " 'separate', which leaves no weights to sample from; set it to 'merged', which writes"
            " lora.safetensors as well"
        )


def _is_same(one: str, other: str) -> bool:
    """Whether two names mean one folder, or one model of a hub."""
    return one == other or _absolute(one) == _absolute(other)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _check_trained_type(model: dict[str, Any], trained: str) -> None:
    """Refuse a text encoder that is trained as one network and read as another."""
    wanted = model.get("type", trained)
    if wanted in TRAINED_LENGTHS and wanted != "clip" and wanted != trained:
        raise ConfigError(
            f"workflow config: models.text_encoder: type is {wanted} and {model['config']} trains a"
            f" {trained}; give a config of that type, as configs/demo/umt5.py for umt5, or"
            " from_pretrained"
        )


def _reference_behind(prompt: str) -> str | None:
    """The `reference_path` in the JSON behind a prompt; what is malformed, sample refuses."""
    _, brace, rest = prompt.partition("{")
    try:
        found = json.loads(brace + rest)
    except ValueError:
        return None
    return found.get("reference_path") if isinstance(found, dict) else None
