"""The checkpoint: where its weights are, and the config that training saved beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensora.config.latent_grid import PIPELINE
from opensora.config.load import read_saved_config
from opensora.core.errors import ConfigError
from opensora.models.open.door import OPEN, PART, read_architecture
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
    """

    path: Path
    files: tuple[Path, ...]
    training: dict[str, Any]
    model: dict[str, Any]

    def sha256(self) -> str:
        """Hash of the weights."""
        return files_sha256(self.files)


def find_trained_model(model: Mapping[str, Any] | None) -> TrainedModel:
    """Find the weights that `model.from_pretrained` names, and what model they belong to.

    Args:
        model: `from_pretrained` (file, folder or hub name), and keywords that change those of
            training. Weights without a training config beside them need a whole model with its
            type.

    Raises:
        ConfigError: no checkpoint is named, or nothing says what model it holds.
        CheckpointError: the checkpoint is not there.
    """
    changes = dict(model or {})
    name = changes.pop("from_pretrained", None)
    if not name:
        raise ConfigError(
            "the sampling config names no checkpoint; set model.from_pretrained or pass"
            " --ckpt-path with a weight file or a folder."
        )
    path = resolve_weights(name)
    if is_open := path.is_dir() and (path / PIPELINE).is_file():
        path = part_folder(path, PART, kind="model")
    files = tuple(find_weights(path))
    beside = files[0].parent / TRAINING_CONFIG
    training = read_saved_config(beside) if beside.is_file() else {}
    trained = dict(training.get("model") or {})
    trained.pop("from_pretrained", None)  # the start of training; the checkpoint replaces it
    if changes.get("type", trained.get("type")) != trained.get("type"):
        training, trained = {}, {}  # another model is asked for: nothing of the trained one fits
    if is_open or (changes.get("type") == OPEN and not trained and path.is_dir()):
        trained = {"type": OPEN, "architecture": read_architecture(path)}
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
