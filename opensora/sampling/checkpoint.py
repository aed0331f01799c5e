"""The checkpoint: where its weights are, and the config that training saved beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from opensora.config.latent_grid import PIPELINE
from opensora.config.load import read_saved_config
from opensora.core.errors import ConfigError
from opensora.models.open.bands import PART, check_part, other_part, read_boundary
from opensora.models.open.door import OPEN, read_architecture
from opensora.models.weights.files import find_weights
from opensora.models.weights.folders import files_sha256, part_folder
from opensora.models.weights.pretrained import resolve_weights

TRAINING_CONFIG = "config.py"  # beside the weights, written by training: data


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A checkpoint.

    Attributes:
        path: file or folder of the weights.
        files: the files that hold them.
        training: the config that training saved beside them; empty where there is none, or one
            of another model than the sampling config names.
        model: type and keywords of the model, those of training with the changes of the
            sampling config.
        other: the other one of two transformers; None of a model that takes all noise.
    """

    path: Path
    files: tuple[Path, ...]
    training: dict[str, Any]
    model: dict[str, Any]
    other: "TrainedModel | None" = None

    def trained_texts(self) -> dict[str, int]:
        """`model_max_length` of the captions of training, where that is known.

        Wan reads the padding behind a prompt: with more of it than learnt it makes other videos.
        """
        encoder = (self.training.get("encoders") or {}).get("text_encoder") or {}
        return {k: int(v) for k, v in encoder.items() if k == "model_max_length" and v}

    def sha256(self) -> str:
        """Hash of the weights."""
        return files_sha256(self.files)


def find_trained_model(model: Mapping[str, Any] | None, *, alone: bool = False) -> TrainedModel:
    """Find the weights that `model.from_pretrained` names, and what model they belong to.

    Args:
        model: `from_pretrained` (file, folder or hub name), and keywords that change those of
            training. Weights without a training config beside them need a whole model with its
            type. `other` names the other one of two transformers likewise.
        alone: leave the other one out.

    Raises:
        ConfigError: no checkpoint is named, nothing says what model it holds, or one of two
            transformers is missing.
        CheckpointError: the checkpoint is not there.
    """
    changes = dict(model or {})
    name, second = changes.pop("from_pretrained", None), changes.pop("other", None)
    if not name:
        raise ConfigError(
            "the sampling config names no checkpoint; set model.from_pretrained or pass"
            " --ckpt-path with a weight file or a folder."
        )
    found = _find(name, changes)
    if found.model.get("boundary") is None:
        if second is not None:
            raise ConfigError(
                f"model.other is {second} and {name} is no model of two transformers; leave it out."
            )
        return found
    if alone:
        return found
    wanted = other_part(found.model["part"])
    if second is None and not (Path(name).is_dir() and (Path(name) / PIPELINE).is_file()):
        raise ConfigError(
            f"{name} is the {found.model['part']!r} of a pipeline of two and the other one is not"
            f" named; pass --model.other with the pipeline's folder, or with a trained {wanted!r}."
        )
    return replace(found, other=_find(second or name, {"type": OPEN, "part": wanted}))


def _find(name: str, changes: Mapping[str, Any]) -> TrainedModel:
    """One checkpoint, and the model that it belongs to with changes of its keywords."""
    path, part = resolve_weights(name), changes.get("part")
    check_part(part or PART)
    if is_open := path.is_dir() and (path / PIPELINE).is_file():
        path = part_folder(path, part or PART, kind="model")
    files = tuple(find_weights(path))
    beside = files[0].parent / TRAINING_CONFIG
    training = read_saved_config(beside) if beside.is_file() else {}
    trained = dict(training.get("model") or {})
    trained.pop("from_pretrained", None)  # the start of training; the checkpoint replaces it
    if changes.get("type", trained.get("type")) != trained.get("type"):
        training, trained = {}, {}  # another model is asked for: nothing of the trained one fits
    if is_open or (changes.get("type") == OPEN and not trained and path.is_dir()):
        trained = {"type": OPEN, "architecture": read_architecture(path)}
        if (boundary := read_boundary(path)) is not None:
            trained |= {"part": path.name, "boundary": boundary}
    if trained.get("boundary") is not None:  # what lies there says which of two it is
        changes = {name: value for name, value in changes.items() if name != "part"}
    architecture = {**trained, **changes}
    if "type" in architecture:
        return TrainedModel(path=path, files=files, training=training, model=architecture)
    if training:
        raise ConfigError(f"{beside}: model has no type; pass the config that training saved.")
    raise ConfigError(
        f"{beside}: no such file, so the model of {path.name} is unknown; keep the config that"
        " training saved beside the weights, or give the whole model in the sampling config"
        " (--model.type and its other fields)."
    )
