"""Blocks compiled for the sizes of a run's plan, or left as they are where no compiler works."""

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from opensora.acceleration.compiler import allow_graphs, compiler_problem
from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError
from opensora.models.layers.transformer import VideoTransformer
from opensora.models.open.family import OpenTransformer
from opensora.plans.compile import BatchPlan
from opensora.training.config import TrainConfig

log = logging.getLogger(__name__)

FOLDER = ".compiled"  # beside the outputs: the stages of a project share it
_PASSES = 2  # with gradients and without


def compile_model(
    model: nn.Module, config: TrainConfig, workers: Workers, plan: BatchPlan
) -> nn.Module:
    """Compile each block of a model, if `config.compile` asks for it.

    torch compiles the code of a block for so many sizes and runs all others as they are; its own
    limit is 8. What is compiled lies in `.compiled` beside the outputs, or where
    TORCHINDUCTOR_CACHE_DIR says. Where a worker has no compiler, all of them go on without.

    Args:
        model: before a plugin takes it.
        config: `compile`, `outputs`, `sp_size`.
        workers: the processes of the run.
        plan: says which sizes there are.

    Returns:
        The model itself.

    Raises:
        ConfigError: the model has no blocks to compile, or workers share its videos.
    """
    if not config.compile:
        return model
    if not isinstance(model, VideoTransformer | OpenTransformer):
        raise ConfigError(
            f"compile is True and {type(model).__name__} has no blocks to compile; leave it out"
        )
    if config.sp_size > 1:
        raise ConfigError(
            f"compile is True and sp_size is {config.sp_size}: blocks whose workers trade tokens"
            " can not be compiled; leave one of the two out"
        )
    # read when something is compiled for the first time; whoever sets it knows better
    folder = Path(config.outputs).resolve().parent / FOLDER
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    problems = workers.gather(compiler_problem(workers.device))
    if any(problems):
        reason = next(problem for problem in problems if problem)
        log.warning(
            "compile asked=True used=False reason=%r hint='it needs a C++ compiler, g++ or the one"
            " that CXX names, and on GPUs a C compiler as well'",
            reason,
        )
        return model
    sizes = count_sizes(plan)
    graphs = sizes * model.graphs_per_size
    allow_graphs(_PASSES * graphs * (1 if _begins_with_gradients(model) else 2))
    model.compile_blocks()
    log.info(
        "compile sizes=%d graphs=%d cache=%s", sizes, graphs, os.environ["TORCHINDUCTOR_CACHE_DIR"]
    )
    return model


def count_sizes(plan: BatchPlan) -> int:
    """How many sizes the micro batches of a plan have: buckets, and clips of one."""
    columns = {"bucket": plan.table["bucket"].to_pandas(), "clips": np.diff(plan.entries.offsets)}
    return len(pd.DataFrame(columns).drop_duplicates())


def _begins_with_gradients(model: VideoTransformer | OpenTransformer) -> bool:
    """Whether the first block is given tokens with a gradient, as the others are."""
    return any(parameter.requires_grad for parameter in model.x_embedder.parameters())
