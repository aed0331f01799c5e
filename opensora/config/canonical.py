"""One form for every config: fields that were renamed, moved or retired become today's."""

import copy
from collections.abc import Mapping
from typing import Any

from opensora.config.fields import (
    DATASET_FIELDS,
    MODEL_SPELLINGS,
    ConfigKind,
)
from opensora.config.registry import PARTS, check_parts
from opensora.core.errors import ConfigError

# model keywords of the reference that are decided elsewhere -> where
_DECIDED_ELSEWHERE = {
    "enable_sequence_parallelism": "sp_size decides how many workers share a video",
}
_DTYPES = {"float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}
_STORES = ("latents", "embeddings")  # of a LatentDataset
_IMAGE_TRANSFORM = "center"  # what `use_image_transform` did: middle square of the image
_TEXT_LISTS = ("prompt", "reference_path", "mask_strategy")  # a single text is a list of one


def canonical(
    config: Mapping[str, Any], kind: ConfigKind | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Translate old spellings; what already has today's form comes back as it is.

    Args:
        config: fields of a config.
        kind: what it is for; None translates only what means the same everywhere.

    Returns:
        The translated fields, and a note on each one that was changed in meaning or left out.

    Raises:
        ConfigError: a field is given in two ways that differ, or a part is not a dict.
    """
    fields: dict[str, Any] = copy.deepcopy(dict(config))
    notes: list[str] = []
    if kind is not None:
        for name in PARTS:
            _require_dict(fields, name)
    if isinstance(fields.get("model"), dict):
        _translate_model(fields, notes)
    if kind == "train":
        _translate_dataset(fields, notes)
        _translate_plugin(fields, notes)
    if kind == "inference":
        _translate_sampling(fields)
    for place in (fields, fields.get("dataset")):
        if not isinstance(place, dict):
            continue
        size = place.get("image_size")
        if isinstance(size, list):
            place["image_size"] = tuple(size)
        elif type(size) is int:  # of a square
            place["image_size"] = (size, size)
    return fields, notes


def check_training_parts(path: object, fields: Mapping[str, Any]) -> None:
    """Check the parts of a training config as `train` does when it starts.

    Loads the models, which takes seconds, and so stands where hours of work follow.

    Raises:
        ConfigError: an unknown type, or a field that it does not take.
    """
    try:
        check_parts(canonical(fields, "train")[0])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _require_dict(fields: Mapping[str, Any], name: str) -> None:
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise ConfigError(
            f"{name} is {value!r}; expected its fields, such as {name}=dict(type=...) in a file or"
            f" --{name.replace('_', '-')}.type on the command line"
        )


def _translate_model(fields: dict[str, Any], notes: list[str]) -> None:
    """Rename keywords, and take out those that something else decides."""
    model = fields["model"]
    for old, new in MODEL_SPELLINGS.items():
        if old in model:
            _move(model, old, model, new, f"model.{old}", f"model.{new}")
    for name, reason in _DECIDED_ELSEWHERE.items():
        if name in model:
            notes.append(f"model.{name}={model.pop(name)} left out: {reason}")
    if "no_temporal_pos_emb" in model and str(model.get("type")).startswith("STDiT2"):
        value = model.pop("no_temporal_pos_emb")
        notes.append(f"model.no_temporal_pos_emb={value} left out: STDiT2 has rotary positions")
    if "dtype" in model:
        name = str(model["dtype"]).removeprefix("torch.")
        model["dtype"] = _DTYPES.get(name, name)
        notes.append(f"model.dtype={model['dtype']} became dtype, which holds for the whole run")
        _move(model, "dtype", fields, "dtype", "model.dtype", "dtype")


def _translate_dataset(fields: dict[str, Any], notes: list[str]) -> None:
    """Move version 1.0's fields into `dataset`; with stores given it becomes a LatentDataset."""
    dataset = fields.get("dataset") or {}
    for name in DATASET_FIELDS:
        if name in fields:
            _move(fields, name, dataset, name, name, f"dataset.{name}")
    if fields.pop("use_image_transform", False):
        frames = dataset.setdefault("num_frames", 1)
        if frames != 1:
            raise ConfigError(
                f"use_image_transform trains on single frames and num_frames is {frames}; set"
                " num_frames = 1, or drop use_image_transform"
            )
        dataset.setdefault("transform_name", _IMAGE_TRANSFORM)
    if dataset.get("root", "") is None:
        del dataset["root"]
    if any(dataset.get(name) is not None for name in _STORES):
        dropped = sorted(name for name in DATASET_FIELDS if name in dataset)
        if dropped:
            notes.append(f"dataset.{{{','.join(dropped)}}} left out: the latents have them already")
        dataset = {name: value for name, value in dataset.items() if name not in dropped}
        dataset["type"] = "LatentDataset"
    elif "type" not in dataset and any(name in dataset for name in DATASET_FIELDS):
        online = "VariableVideoTextDataset" if fields.get("bucket_config") else "VideoTextDataset"
        dataset = {"type": online, **dataset}
    if dataset:
        fields["dataset"] = dataset
    if fields.get("bucket_config") and fields.get("batch_size") is not None:
        notes.append(f"batch_size={fields['batch_size']} left out: bucket_config has its own")
        fields["batch_size"] = None


def _translate_plugin(fields: dict[str, Any], notes: list[str]) -> None:
    """`zero2-seq` is ZeRO stage 2 with sequence parallelism, which `sp_size` asks for."""
    plugin = fields.get("plugin")
    if isinstance(plugin, str) and plugin.endswith("-seq"):
        fields["plugin"] = plugin.removesuffix("-seq")
        notes.append(
            f"plugin={plugin} became {fields['plugin']}: sp_size={fields.get('sp_size', 1)}"
            " decides how many workers share a video"
        )


def _translate_sampling(fields: dict[str, Any]) -> None:
    """Lists of texts, and version 1.0's yes or no for the size as a condition."""
    for name in _TEXT_LISTS:
        if isinstance(fields.get(name), str):
            fields[name] = [fields[name]]
    if fields.get("multi_resolution") is True:
        fields["multi_resolution"] = "PixArtMS"  # the only model of 1.0 that takes its size
    elif fields.get("multi_resolution", "") is False:
        del fields["multi_resolution"]


def _move(
    source: dict[str, Any], old: str, target: dict[str, Any], new: str, said: str, meant: str
) -> None:
    """Take `source[old]` to `target[new]`; None in the target is "not given".

    Raises:
        ConfigError: both are there and differ; `said` and `meant` are their whole names.
    """
    value, present = source.pop(old), target.get(new)
    if present is None:
        target[new] = value
    elif value is not None and _plain(present) != _plain(value):
        raise ConfigError(
            f"{said} is {value!r} and {meant}, the same field, is {present!r}; keep {meant}"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
