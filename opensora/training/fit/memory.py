"""Whether micro batches fit the GPU: said before the first step, and when one did not."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from opensora.core.errors import ConfigError, OpenSoraError
from opensora.plans.budget.cost import live_cost
from opensora.plans.budget.memory import USABLE, Setup, advice, training_gb
from opensora.training.start import TrainingRun

log = logging.getLogger(__name__)


def warn_of_memory(run: TrainingRun) -> str:
    """Say that the largest micro batch will hardly fit the GPU, before time is spent on the others.

    The need is an estimate, so this is a warning; `out_of_memory` has the last word.

    Returns:
        What was said; nothing where it fits, on a CPU, or where the need is not known.
    """
    whole, source = gpu_gb(run.workers.device), run.source
    if not whole or source.rejects is not None:  # online: sizes of latents come later
        return ""
    position = source.plan.largest_entry()
    shape = source.read(position)["latents"].shape
    words = describe_need(run, position, shape, usable=whole * USABLE)
    if words and run.workers.is_main:
        log.warning("memory of %.1f GB: %s", whole, words)
    return words


@contextmanager
def out_of_memory(run: TrainingRun, step: int, position: int, latents: Tensor) -> Iterator[None]:
    """Turn the error of a step that does not fit the GPU into a sentence.

    Raises:
        OpenSoraError: names the bucket and what makes it fit.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        # what was estimated may have been too little: advice has to save a tenth of it at least
        words = describe_need(run, position, latents.shape, usable=0.0, save=0.1)
        raise OpenSoraError(
            f"train: step {step + 1} does not fit the memory of the GPU"
            f" ({gpu_gb(run.workers.device):.1f} GB): {words}; nothing that was written is lost,"
            f" the newest checkpoint is in {run.config.state_folder}"
        ) from error


def gpu_gb(device: torch.device) -> float:
    """Memory of a GPU in GB; 0 for a CPU."""
    if device.type != "cuda":
        return 0.0
    return float(torch.cuda.get_device_properties(device).total_memory) / 1e9


def describe_need(
    run: TrainingRun, position: int, shape: torch.Size, *, usable: float, save: float = 0.0
) -> str:
    """What a micro batch needs where that is more than there is; nothing where it fits.

    Args:
        run: the model and how it is trained.
        position: of the micro batch in the plan.
        shape: of its latents, [B, C, T, H, W].
        usable: memory, GB.
        save: share of the estimate that advice has to save; 0 advises what fits `usable`.
    """
    batch = f"{shape[0]} clips of bucket {run.source.plan[position].bucket}"
    model: Any = run.engine.module
    try:
        cost = live_cost(model, run.source.max_length, run.config.lora)
        sizes = zip(shape[2:], model.patch_size, strict=True)
        tokens = math.prod(-(-size // patch) for size, patch in sizes)
        setup = Setup.of(vars(run.config), gpus=run.workers.world_size, frozen=cost.frozen)
        needed = training_gb(cost, shape[0] * tokens, setup)
    except ConfigError:  # a model whose layers are not known, or can not be counted
        return batch if save else ""
    if needed <= usable:
        return ""
    limit = needed * (1 - save) if save else usable
    return f"{batch} need about {needed:.1f} GB; {advice(cost, shape[0], tokens, setup, limit)}"
