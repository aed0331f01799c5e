"""One folder that `opensora sample` starts from alone.

ema.safetensors   weights
config.py         how they were trained: literals, which are read and never run
sample.json       how they are sampled
vae/, text_encoder/   those that lie on this disk; of a hub, sample.json has the names
samples/          some of what they make
README.md         the model card
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensora.config.load import read_saved_config, save_config
from opensora.config.parts import PLAN_FIELDS, TRAINING_FIELDS
from opensora.core.errors import CheckpointError, ConfigError, OpenSoraError
from opensora.core.io import read_json, write_json
from opensora.models.weights.parts import files_of
from opensora.models.weights.written import check_written

WEIGHTS, CONFIG, START, SAMPLES_FOLDER = "ema.safetensors", "config.py", "sample.json", "samples"
ENCODERS = ("vae", "text_encoder")
_NAME = "from_pretrained"
# of a record's config, what belongs to one run and one machine
_OF_A_RUN = ("prompt_path", "reference_path", "mask_strategy", "sp_size", "num_samples", "lora")
_MACHINE = ("cache_dir", "local_files_only")
# of a training config, what others want to know; the rest are places and machines
_TOLD = {*TRAINING_FIELDS, *PLAN_FIELDS, "fps", "posterior", "encoders"} - {"load"}


def read_training(outputs: Path) -> dict[str, Any]:
    """The settings of a finished training, without the places of its machine.

    Raises:
        CheckpointError: these are no outputs of a training, or its weights are no more what it
            wrote.
    """
    if not (outputs / CONFIG).is_file():
        raise CheckpointError(f"{outputs / CONFIG} is missing; give the outputs of a training")
    if files := sorted(outputs.glob("*.safetensors")):
        check_written(files)
    fields = read_saved_config(outputs / CONFIG)
    told = {name: value for name, value in fields.items() if name in _TOLD and value is not None}
    told["model"] = _without(fields.get("model") or {}, (_NAME, *_MACHINE))
    return told


def write_model(outputs: Path, samples: list[dict[str, Any]], folder: Path) -> None:
    """Fill the folder of a model of this project, but for its card and its samples.

    Args:
        outputs: of the training.
        samples: records of samples of its weights.
        folder: is there, and empty.

    Raises:
        CheckpointError: weights are missing.
        ConfigError: an encoder lies no more where it did.
    """
    told = read_training(outputs)
    files = files_of(outputs / WEIGHTS)
    if not files:
        raise CheckpointError(f"{outputs / WEIGHTS} is missing; train with an average, ema_decay")
    for file in files:
        shutil.copyfile(file, folder / file.name)
    written = read_saved_config(outputs / CONFIG).get("written") or {}
    kept = {file.name: written[file.name] for file in files if file.name in written}
    save_config(told, folder / CONFIG, **({"written": kept} if kept else {}))  # type: ignore[arg-type]
    record = samples[0]
    start = _without(record["config"], (*_OF_A_RUN, "model", "save_dir"))
    start["prompt"] = list(dict.fromkeys(sample["prompt"] for sample in samples))
    for part in ENCODERS:
        if start.get(part):
            start[part] = _encoder(part, start[part], folder)
    write_json(folder / START, start)


def encoders_of(samples: list[dict[str, Any]]) -> dict[str, str]:
    """Part -> the hub name of what reads prompts or makes pixels, or that it is in the folder."""
    config = samples[0]["config"] if samples else {}
    return {
        part: hub_name(config[part].get(_NAME)) or "in this folder"
        for part in ENCODERS
        if config.get(part)
    }


def hub_name(name: str | None) -> str | None:
    """The name itself where it can be one of a hub, and is no folder of this disk."""
    return name if name and name.count("/") == 1 and not Path(name).exists() else None


def read_data_card(file: Path) -> str:
    """The text of a data card.

    Raises:
        ConfigError: it can not be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--data-card {file}: can not be read ({error})") from error


def start_of(folder: Path) -> dict[str, Any]:
    """The sampling config of such a folder, with what lies in it named where it lies.

    Others may have made the folder: it does not say where files of this machine are read or
    written.

    Raises:
        ConfigError: it is no such folder.
    """
    file = folder / START
    try:
        fields = read_json(file)
    except OpenSoraError as error:
        raise ConfigError(f"{error}; give a folder of `opensora export-weights`") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"{file}: is no table of fields; export the weights again")
    fields = _without(fields, _OF_A_RUN)
    fields |= {"model": {_NAME: str(folder / WEIGHTS)}, "save_dir": SAMPLES_FOLDER}
    for part in ENCODERS:
        inner = fields.get(part)
        if isinstance(inner, dict) and inner.get(_NAME) == part:
            fields[part] = {**inner, _NAME: str(folder / part)}
    return fields


def _encoder(part: str, fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of an encoder, whose folder is copied where it lies on this disk."""
    kept = _without(fields, _MACHINE)
    name = kept.get(_NAME)
    if name is None:
        return kept
    if Path(name).is_dir():
        shutil.copytree(name, folder / part)
        return {**kept, _NAME: part}
    if hub_name(name) is None:
        raise ConfigError(
            f"{part}: {name} is not there any more, and the samples were made with it; bring it"
            " back, or sample again"
        )
    return kept


def _without(fields: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
