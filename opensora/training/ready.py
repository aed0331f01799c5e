"""Whether a stage could start with its config, told before there is anything to train on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from opensora.acceleration.optimizer import build_optimizer
from opensora.acceleration.plugins import check_plugin
from opensora.buckets.bucket_config import parse_bucket_config
from opensora.config.load import load_config
from opensora.config.registry import SCHEDULERS, build_module
from opensora.core.errors import CheckpointError, ConfigError
from opensora.models.build import build_empty
from opensora.models.device import parse_dtype
from opensora.models.layers.kernels.backends import FLASH_ATTN
from opensora.models.lora.parts import find_parts
from opensora.models.lora.settings import LoraSettings
from opensora.models.open.door import OPEN, known_model
from opensora.models.open.family import OpenTransformer
from opensora.plans.balance import check_balance_mode
from opensora.plans.stage_plan import EpochAssignments, bucket_config_of
from opensora.training.config import TrainConfig, read_train_config
from opensora.training.kernels import check_kernels
from opensora.training.start import mask_generator

_THERE = "."  # stands for files that the stages before make
_STORED = ("--dataset.latents", _THERE, "--dataset.embeddings", _THERE, "--dataset.plan", _THERE)
_ONLINE = (
    *("--dataset.type", "VariableVideoTextDataset", "--data-path", _THERE),
    *("--vae.from_pretrained", _THERE, "--text-encoder.from_pretrained", _THERE),
)


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What a workflow encodes for its stages.

    Attributes:
        texts: type of the text encoder.
        given: which frames are stored beside the latents, as `encode.given` names them.
        has_pictures: embeddings of these are as well.
    """

    texts: str
    given: str | None
    has_pictures: bool


def check_stage(
    path: str | Path, encoded: Encoded, *, online: bool, continues: bool, gpus: int
) -> None:
    """Read a training config as `train` and `assign-buckets` will, and build its parts empty.

    Args:
        path: of the config.
        encoded: what the stage would be given.
        online: whether the stage encodes as it goes, else it reads stores.
        continues: whether it starts from weights that the workflow names, and not the config.
        gpus: on each node; 0 trains on the CPU.

    Raises:
        ConfigError: what either would refuse, once hours of other work are done.
    """
    words = list(_ONLINE if online else _STORED)
    given = {"outputs": _THERE, "load": _THERE if continues else None}
    config, _ = read_train_config(path, words, **given)
    try:
        _check_plan(load_config(path).to_dict())
        model = _check_parts(config, torch.device("cuda" if gpus else "cpu"))
        if isinstance(model, OpenTransformer):
            _check_open(model, config, encoded)
        if not continues and config.load and not Path(config.load).exists():
            raise ConfigError(f"load: {config.load!r} does not exist")
    except (CheckpointError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{path}: a field has a value that can not be used: {error}") from error


def _check_plan(fields: dict[str, Any]) -> None:
    parse_bucket_config(bucket_config_of(fields))
    check_balance_mode(fields.get("balance"))
    nothing = pd.DataFrame({name: [] for name in ("id", "num_frames", "height", "width")})
    EpochAssignments(nothing, fields)


def _check_open(model: OpenTransformer, config: TrainConfig, encoded: Encoded) -> None:
    model.check_text_encoder(encoded.texts)
    if config.is_online:
        model.check_online()
    else:
        model.check_given(encoded.given, has_pictures=encoded.has_pictures)
    if config.lora is not None:
        find_parts(model, LoraSettings.of(config.lora))


def _check_parts(config: TrainConfig, device: torch.device) -> nn.Module | None:
    """The model without weights; None where nothing on this disk says what it is."""
    parse_dtype(config.dtype)
    check_plugin(config.plugin, device)
    there = {name: k for name, k in (config.kernels or {}).items() if k != FLASH_ATTN}
    check_kernels(replace(config, kernels=there, require_kernels=False), torch.device("cpu"))
    build_module(config.scheduler, SCHEDULERS)
    some = nn.Module()
    some.blocks = nn.ModuleList([nn.Linear(2, 2)])
    build_optimizer(some, config.optimizer, lr=config.lr)
    fields = {name: value for name, value in config.model.items() if name != "type"}
    weights = fields.get("from_pretrained")
    is_local = isinstance(weights, str) and weights.startswith((".", "/", "~"))
    if is_local and not Path(str(weights)).expanduser().exists():
        raise ConfigError(f"model.from_pretrained: {weights!r} does not exist")
    if config.model["type"] == OPEN:  # what it is stands in the folder of its weights
        model: nn.Module | None = known_model(**fields)
    else:
        fields.pop("from_pretrained", None)
        model = build_empty(config.model["type"], fields)
    if model is not None:
        mask_generator(config, model)
    return model
