"""Training adapters: the weights they sit on are kept once, checkpoints hold adapters alone."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from opensora.acceleration.workers import Workers
from opensora.core.errors import CheckpointError
from opensora.core.io import atomic_path, sha256_file
from opensora.core.seed import derive_seed
from opensora.models.lora import adapters as lora
from opensora.models.lora.merge import Adapters, adapted_layers, fingerprint, merged, write_adapters
from opensora.models.lora.settings import SEPARATE, LoraSettings
from opensora.models.weights.parts import Stored
from opensora.training.checkpoint import Checkpoint, newest_checkpoint, save_tensors
from opensora.training.config import TrainConfig
from opensora.training.load import load_weights

BASE = "base.safetensors"  # in the state folder: the weights that nothing here changes
RESULT = "lora.safetensors"  # in the outputs


@dataclass(frozen=True)
class TrainedAdapters:
    """The adapters of a run.

    Attributes:
        model: that holds them.
        settings: how they are made.
        kind: type of the model.
        base_sha256: hash of the file `BASE`.
        fingerprint: of the layers they sit on.
    """

    model: nn.Module
    settings: LoraSettings
    kind: str
    base_sha256: str
    fingerprint: str

    @property
    def whole_weights(self) -> bool:
        """Whether whole weights are written as well."""
        return self.settings.output != SEPARATE

    def tensors(self) -> dict[str, Tensor]:
        """As they are now, by the names of a file."""
        return lora.trained_tensors(self.model)

    def live(self, tensors: Stored) -> Stored:
        """Tensors by the names of the model, from those of a file."""
        return tensors.renamed(lora.live_names(self.model))

    def merged(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole weights with these adapters in them, by the names of the model without any."""
        base = lora.base_tensors(self.model)
        return merged({n: v.cpu() for n, v in base.items()}, tensors, self.settings.scaling)

    def write(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """Write `lora.safetensors`."""
        content = Adapters(self.settings, self.kind, self.fingerprint, dict(tensors))
        write_adapters(folder / RESULT, content)


def start_adapters(
    model: nn.Module,
    config: TrainConfig,
    workers: Workers,
    checkpoint: Checkpoint | None,
    loaded: Path | None,
) -> TrainedAdapters:
    """Give a model the adapters of a run, new ones or those of a checkpoint.

    Args:
        model: at a fresh start with the weights to adapt; else it gets those of the run.
        config: of the run.
        workers: of the run; the main one keeps the weights.
        checkpoint: to go on from.
        loaded: its folder, where it is one of another run.

    Raises:
        ConfigError: `lora` names what the model does not have.
        CheckpointError: the kept weights are gone or have changed, or the checkpoint holds others.
    """
    assert config.lora is not None  # the caller's condition
    settings = LoraSettings.of(config.lora)
    kept = config.state_folder / BASE
    if checkpoint is None:
        base_sha256 = workers.first(lambda: _keep(model, kept))
    else:
        base_sha256 = checkpoint.counters.base or ""
        source = kept
        if newest_checkpoint(config.state_folder) is None and loaded is not None:
            source = loaded.parent / BASE
        workers.first(lambda: _bring(source, kept, base_sha256))
        load_weights(model, load_file(kept))
    lora.add_adapters(model, settings, seed=derive_seed(config.seed, "lora"))
    if checkpoint is not None:
        lora.load_tensors(model, checkpoint.model, "the checkpoint")
    layers = adapted_layers(lora.trained_tensors(model))
    found = fingerprint(lora.base_tensors(model), layers)
    return TrainedAdapters(model, settings, str(config.model["type"]), base_sha256, found)


def _keep(model: nn.Module, target: Path) -> str:
    """Write the weights that adapters will sit on; returns the hash of the file."""
    with atomic_path(target) as path:
        save_tensors(path, model.state_dict())
    return sha256_file(target)


def _bring(source: Path, target: Path, sha256: str) -> None:
    """Check the kept weights of a checkpoint, and have them in this run's own state folder.

    Raises:
        CheckpointError: the checkpoint has none, or they are gone or have changed.
    """
    if not sha256:
        raise CheckpointError(
            f"load {source.parent}: the checkpoint was trained without `lora`; give its weights"
            " alone: its ema.safetensors"
        )
    if not source.is_file():
        raise CheckpointError(
            f"{source}: is missing, the weights that the adapters of the checkpoints beside it sit"
            " on; put it back, or remove the folder to start afresh"
        )
    if sha256_file(source) != sha256:
        raise CheckpointError(
            f"{source}: is not what was written; put a copy of it back, or remove the folder to"
            " start afresh"
        )
    if source != target:
        with atomic_path(target) as path:
            with suppress(OSError):  # nobody changes it: one file may have two names
                os.link(source, path)
            if not path.exists():
                shutil.copyfile(source, path)
