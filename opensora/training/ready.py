"""Whether a stage could start with its config, told before there is anything to train on."""

from dataclasses import replace
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
from opensora.core.errors import ConfigError
from opensora.models.build import build_empty
from opensora.models.device import parse_dtype
from opensora.models.layers.kernels.backends import FLASH_ATTN
from opensora.models.open.door import OPEN
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


def check_stage(path: str | Path, *, online: bool, continues: bool, gpus: int) -> None:
    """Read a training config as `train` and `assign-buckets` will, and build its parts empty.

    Args:
        path: of the config.
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
        _check_parts(config, torch.device("cuda" if gpus else "cpu"))
        if not continues and config.load and not Path(config.load).exists():
            raise ConfigError(f"load: {config.load!r} does not exist")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{path}: a field has a value that can not be used: {error}") from error


def _check_plan(fields: dict[str, Any]) -> None:
    parse_bucket_config(bucket_config_of(fields))
    check_balance_mode(fields.get("balance"))
    nothing = pd.DataFrame({name: [] for name in ("id", "num_frames", "height", "width")})
    EpochAssignments(nothing, fields)


def _check_parts(config: TrainConfig, device: torch.device) -> None:
    parse_dtype(config.dtype)
    check_plugin(config.plugin, device)
    there = {name: k for name, k in (config.kernels or {}).items() if k != FLASH_ATTN}
    check_kernels(replace(config, kernels=there, require_kernels=False), torch.device("cpu"))
    for name in ("lr", "ema_decay", "grad_clip"):
        value = getattr(config, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"{name} is {value!r}; expected a number")
    if config.lr is not None and config.lr <= 0:
        raise ConfigError(f"lr is {config.lr!r}; expected a number above 0")
    build_module(config.scheduler, SCHEDULERS)
    some = nn.Module()
    some.blocks = nn.ModuleList([nn.Linear(2, 2)])
    build_optimizer(some, config.optimizer, lr=config.lr)
    if config.model["type"] == OPEN:  # what it is stands in the folder of its weights
        return
    fields = {name: value for name, value in config.model.items() if name != "type"}
    weights = fields.pop("from_pretrained", None)
    is_local = isinstance(weights, str) and weights.startswith((".", "/", "~"))
    if is_local and not Path(weights).expanduser().exists():
        raise ConfigError(f"model.from_pretrained: {weights!r} does not exist")
    mask_generator(config, build_empty(config.model["type"], fields))
