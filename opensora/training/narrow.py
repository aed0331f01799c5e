"""bf16 where it is not usual: between the blocks, and between the workers."""

import logging

import torch
from torch import nn

from opensora.acceleration.precision import effective_dtype
from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError
from opensora.models.layers.transformer import VideoTransformer
from opensora.training.config import TrainConfig

log = logging.getLogger(__name__)


def narrow_residual(model: nn.Module, config: TrainConfig, workers: Workers) -> None:
    """Let the tokens of a model be bf16 between its branches, where the config asks for it.

    Args:
        model: before its blocks are compiled and a plugin takes it.
        config: `residual_dtype`, `reduce_dtype`, `dtype`.
        workers: the processes of the run.

    Raises:
        ConfigError: the model has no blocks.
    """
    if config.reduce_dtype == "bf16" and workers.is_main:
        log.warning(
            "precision reduce_dtype=bf16 hint='over three seeds of the demo the held-out loss was"
            " 1 % higher than with fp32 on average, 3 % at worst: docs/benchmarks.md'"
        )
    if config.residual_dtype != "bf16":
        return
    if not isinstance(model, VideoTransformer):
        raise ConfigError(
            f"residual_dtype is 'bf16' and {type(model).__name__} has no blocks of tokens; leave it"
            " out"
        )
    if effective_dtype(config.dtype, workers.device) == torch.bfloat16:
        model.narrow_residual(torch.bfloat16)
