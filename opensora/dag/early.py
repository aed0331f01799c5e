"""What a run would meet hours later, said before its first job.

What can be told without torch is told here. The rest is asked of `opensora check`, a process of its
own, for torch takes seconds to load and half a gigabyte: once for each content of the configs.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from opensora.config.latent_grid import LatentGrid
from opensora.core.errors import ConfigError
from opensora.core.io import sha256_once, write_text
from opensora.core.versions import VERSIONS

Fields = Mapping[str, Any]

_OF_TRAINING = ("bucket_config", "optimizer", "lr", "epochs", "num_steps", "ema_decay", "dataset")
_OF_SAMPLING = ("prompt", "prompt_path", "save_dir", "multi_resolution", "display_size")
_NO_MATTER = ("resources", "container", "layout", "manifest_csv", "max_rejected", "num_shards")
_ASKING = ("transformers", "openai")  # captioners that ask a model
_USER = 2  # exit code of what the user can mend
_CHECKED = "checked.txt"
# set where a dry run only lists jobs for a person, who starts the run itself afterwards
ONLY_EXPLAINS = "OPENSORA_ONLY_EXPLAINS"


def read_workflow_config(path: Path) -> dict[str, Any]:
    """The fields of a YAML file.

    Raises:
        ConfigError: it can not be read, or holds no fields.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        cause = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise ConfigError(f"{path}: can not be read as a workflow config ({cause})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected the fields of a workflow config, as `run: demo`")
    return found


def check_kinds(stages: Mapping[str, Fields], sample: str, fields: Fields) -> None:
    """Refuse a config of one kind where the other belongs.

    Args:
        stages: path of each stage's config -> its fields.
        sample: path of the sampling config.
        fields: of it.

    Raises:
        ConfigError: names the field that tells.
    """
    for path, found in stages.items():
        if (name := _first(found, _OF_SAMPLING)) and not _first(found, _OF_TRAINING):
            raise ConfigError(
                f"workflow config: stages: {path} is a sampling config, for it has {name}; give a"
                " training config, such as configs/demo/train/stage1.py"
            )
    if name := _first(fields, _OF_TRAINING):
        raise ConfigError(
            f"workflow config: sample.config: {sample} is a training config, for it has {name};"
            " give a sampling config, such as configs/demo/inference/sample.py"
        )


def check_milestones(stage: Fields, fields: Fields) -> None:
    """Refuse milestones that training never comes to.

    Args:
        stage: of the workflow config.
        fields: of its training config.

    Raises:
        ConfigError: names both numbers.
    """
    last, steps = fields.get("num_steps"), stage["milestones"]
    if steps and isinstance(last, int) and steps[-1] >= last:
        raise ConfigError(
            f"workflow config: stages: {stage['name']}: milestone {steps[-1]} is not before"
            f" num_steps {last} of {stage['config']}, where the stage ends and its weights are kept"
            " anyway; take it out, or raise num_steps"
        )


def check_sample_size(fields: Fields, grid: LatentGrid, place: str) -> None:
    """Refuse lengths and sizes of samples that the autoencoder of the run can not make.

    Raises:
        ConfigError: names the nearest that it can.
    """
    frames, size = fields.get("num_frames"), fields.get("image_size")
    if isinstance(frames, int) and frames >= 1:
        grid.check_frames(frames, f"workflow config: sample.config: {place}: num_frames")
    # what is missing, `opensora check` says; the job graph takes its memory from the size
    if size is not None and (not isinstance(size, list | tuple) or len(size) != 2):
        raise ConfigError(
            f"workflow config: sample.config: {place}: image_size is {size!r}; expected (height,"
            " width) in pixels"
        )


def check_curation(config: Fields) -> None:
    """Refuse settings of the curation that keep nothing, lack something, or have no effect.

    Raises:
        ConfigError: names the field.
    """
    for place in [config, *config["sources"]]:
        name = f"sources: {place['name']}: " if place is not config else ""
        clips, scenes = place.get("clips"), place.get("scenes")
        if clips and clips["min_s"] > clips["max_s"]:
            raise ConfigError(
                f"workflow config: {name}clips: min_s {clips['min_s']:g} is above max_s"
                f" {clips['max_s']:g}, so that no clip can be cut; change one of the two"
            )
        if scenes and scenes["detector"] == "none" and scenes["threshold"] is not None:
            raise ConfigError(
                f"workflow config: {name}scenes: threshold {scenes['threshold']:g} has no effect"
                " beside detector none; leave it out"
            )
        captions = place.get("captions")
        if captions and captions["captioner"] not in _ASKING:
            for field in ("model", "prompt", "num_frames"):
                if captions[field] is not None:
                    raise ConfigError(
                        f"workflow config: {name}captions: {field} has no effect beside captioner"
                        f" {captions['captioner']}; leave it out, or take one of"
                        f" {', '.join(_ASKING)}"
                    )
    if config["prefer"] and not (
        config["max_clips_per_source"] or config["dedup"]["max_distance"] is not None
    ):
        raise ConfigError(
            f"workflow config: prefer {config['prefer']!r} has no effect without"
            " dedup.max_distance or max_clips_per_source; give one of them, or leave it out"
        )
    for scorer in config["scorer_options"]:
        if scorer not in config["scorers"]:
            raise ConfigError(
                f"workflow config: scorer_options.{scorer} has no effect, for {scorer} is not among"
                " scorers; add it there, or leave its options out"
            )
    if "aesthetic" in config["scorers"] and "aesthetic" not in config["scorer_options"]:
        raise ConfigError(
            "workflow config: scorer_options: the scorer aesthetic needs its weights; give"
            " aesthetic: {clip: ..., head: ...}, or take it out of scorers"
        )


def check_prompts(path: str | None) -> None:
    """Refuse prompts that are no file or empty; what is not there, Snakemake says itself.

    Raises:
        ConfigError: says what is expected.
    """
    if path is None or not Path(path).exists():
        return
    if not Path(path).is_file():
        raise ConfigError(
            f"workflow config: sample.prompts: {path} is no file; give a text file with a prompt a"
            " line, or a table of prompts"
        )
    with open(path, "rb") as file:  # a blank table as well
        is_empty = not any(line.strip() for line in file)
    if is_empty:
        raise ConfigError(
            f"workflow config: sample.prompts: {path} is empty; write a prompt a line"
        )


def check_deeply(config: Fields, contents: list[Fields], repository: Path, run: Path) -> None:
    """Ask `opensora check` about a run, unless it has been asked about this very content.

    `opensora plan --explain`, which runs nothing, does without.

    Args:
        config: of the workflow, checked and complete.
        contents: fields of all configs that it names, resolved.
        repository: where relative paths of configs start.
        run: folder of the results.

    Raises:
        ConfigError: its sentence.
    """
    if os.environ.get(ONLY_EXPLAINS):
        return
    given = {name: value for name, value in config.items() if name not in _NO_MATTER}
    prompts = config["sample"]["prompts"]
    text = sha256_once(prompts) if prompts and Path(prompts).is_file() else None
    whole = json.dumps([VERSIONS, given, contents, text], sort_keys=True, default=repr)
    mark, known = hashlib.sha256(whole.encode()).hexdigest(), run / "listing" / _CHECKED
    if known.is_file() and known.read_text(encoding="utf-8", errors="replace") == mark:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(json.dumps(dict(config), default=str), encoding="utf-8")
        words = ["-m", "opensora.cli.main", "check", str(file), "--settled"]
        words += ["--repository", str(repository)]
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, errors="replace", check=False
        )
    said = done.stderr.strip().rpartition("\n")[2]
    if done.returncode == _USER:
        raise ConfigError(said.removeprefix("opensora check: "))
    if done.returncode:
        raise ConfigError(
            f"`opensora check`, which reads all configs before the first job, ended with"
            f" {done.returncode} ({said}); `opensora check CONFIG` shows all that it says"
        )
    write_text(known, mark)


def _first(fields: Fields, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if fields.get(name) is not None), None)
