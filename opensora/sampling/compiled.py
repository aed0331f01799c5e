"""Blocks of a model compiled for sampling, or left as they are where no compiler works."""

import logging

import torch
from torch import nn

from opensora.acceleration.compiler import allow_graphs, compiler_problem
from opensora.core.errors import ConfigError
from opensora.models.layers.transformer import VideoTransformer
from opensora.sampling.settings import SamplingSettings

log = logging.getLogger(__name__)

_SIZES = 4  # of batches: with and without given frames, guided at once and apart


def compile_blocks(model: nn.Module, settings: SamplingSettings, device: torch.device) -> bool:
    """Compile each block of a model, if `settings.compile` asks for it.

    Returns:
        Whether they are.

    Raises:
        ConfigError: the model has no blocks to compile, or workers share its samples.
    """
    if not settings.compile:
        return False
    if not isinstance(model, VideoTransformer):
        raise ConfigError(
            f"compile is True and {type(model).__name__} has no blocks to compile; leave it out."
        )
    if settings.sp_size > 1:
        raise ConfigError(
            f"compile is True and sp_size is {settings.sp_size}: blocks whose workers trade tokens"
            " can not be compiled; leave one of the two out."
        )
    if problem := compiler_problem(device):
        log.warning("compile asked=True used=False reason=%r", problem)
        return False
    allow_graphs(_SIZES * model.graphs_per_size)
    model.compile_blocks()
    return True
