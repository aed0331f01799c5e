"""The loss on clips that no step trains on, at the same noise every time and in every run."""

import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.core.seed import derive_seed
from opensora.datasets.stored import LatentDataset
from opensora.plans.compile import BatchPlan
from opensora.schedulers.common import Conditions, Model, draw_noise
from opensora.training.start import TrainingRun
from opensora.training.step import on_device
from opensora.training.watched.losses import BANDS, LossSums, mean_of_all, means

log = logging.getLogger(__name__)

_SEED = 0  # not the run's: runs of other seeds are compared on the same noise
NAME = "held_out_loss"


class HeldOut:
    """Measures the loss of the weights that are trained, not of their average.

    Each clip is seen once in each noise band, all frames noised. Timestep and noise follow from its
    id and the band, so that curves are compared point by point: over steps, runs, numbers of
    workers. Nothing that training draws from is touched.

    Args:
        dataset: reads the clips.
        batches: bucket and ids, the same on all workers.
    """

    def __init__(self, dataset: LatentDataset, batches: Sequence[tuple[Bucket, list[str]]]) -> None:
        self._dataset, self._batches = dataset, batches

    @torch.no_grad()
    def measure(self, run: TrainingRun) -> dict[str, Any]:
        """The fields of a line of metrics; all workers take part."""
        sums = LossSums()
        workers, groups = run.workers, run.workers.num_groups
        run.engine.model.eval()
        try:
            # compiled blocks would be compiled anew for a pass without gradients
            with run.engine.autocast(), torch.compiler.set_stance("force_eager"):
                for first in range(0, len(self._batches), groups):
                    number = first + workers.group
                    counts = number < len(self._batches)
                    # weights that are split are gathered by all: the last round has no gaps
                    self._add(run, sums if counts else LossSums(), number if counts else 0)
        finally:
            run.engine.model.train()
        collected = sums.collected(workers)
        return {NAME: mean_of_all(collected), **means(collected, NAME)}

    def _add(self, run: TrainingRun, sums: LossSums, number: int) -> None:
        """One pass over a batch in each band."""
        bucket, ids = self._batches[number]
        batch = self._dataset.read_clips(0, bucket, ids)
        latents, conditions = on_device(batch, run.workers.device)
        for levels, losses in losses_by_band(
            run.engine.model, run.scheduler, latents, conditions, ids
        ):
            sums.add(str(bucket), levels.to(losses.device), losses)


def losses_by_band(
    model: Model, scheduler: Any, latents: Tensor, conditions: Conditions, ids: Sequence[str]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Losses of clips of one bucket, once in each noise band of those that the model takes.

    Args:
        model: predicts.
        scheduler: gives the losses.
        latents: [B, C, T, H, W].
        conditions: of the model.
        ids: of the B clips.

    Yields:
        Noise levels [B] in [0, 1) and losses [B], band after band.
    """
    low, high = getattr(scheduler, "band", None) or (0.0, 1.0)
    for band in range(BANDS):
        places = torch.tensor([(band + _draw("time", name, band)) / BANDS for name in ids])
        levels = places if (low, high) == (0.0, 1.0) else low + (high - low) * places
        t = timesteps_at(levels, scheduler.num_timesteps).to(latents.device)
        noise = draw_noise(latents, [_generator(name, band) for name in ids])
        losses: Tensor = scheduler.training_losses(
            model, latents, t, model_kwargs=conditions, noise=noise
        )["loss"]
        yield levels, losses


def stored_batches(
    plan: BatchPlan, dataset: LatentDataset
) -> tuple[list[tuple[Bucket, list[str]]], int]:
    """The batches of a plan of held-out clips, without the clips that were not encoded.

    Returns:
        Bucket and ids of each batch, and how many clips are left out.
    """
    absent = dataset.missing(plan.items())
    batches = []
    for number in range(len(plan)):
        _, bucket, ids = plan[number]
        held = [name for name in ids if (name, str(bucket)) not in absent]
        if held:
            batches.append((bucket, held))
    return batches, len(absent)


def open_held_out(run: TrainingRun) -> HeldOut | None:
    """The held-out clips of a run; None where the config asks for none, or none are encoded.

    Clips of the plan that could not be encoded are left out; the log says how many.

    Raises:
        TableError: the plan can not be read.
        StoreError: a store is damaged.
    """
    config = run.config
    if config.eval_every is None:
        return None
    if config.is_online:
        _tell(run, "training from videos encodes no held-out clips; train from stores for it")
        return None
    given = config.dataset.get("validation")
    if given is None:
        _tell(run, "dataset.validation names no plan of held-out clips; assign-buckets makes one")
        return None
    plan = BatchPlan(given)
    if not len(plan):
        _tell(
            run, f"{given} holds no clip; give validation_fraction a larger share, or more videos"
        )
        return None
    paths = {name: config.dataset[name] for name in ("latents", "embeddings")}
    # files of its own: another thread reads those of training
    dataset = LatentDataset(**paths, plan=config.dataset["plan"], seed=_SEED)
    batches, absent = stored_batches(plan, dataset)
    if absent and run.workers.is_main:
        log.warning("held_out_missing clips=%d plan=%s", absent, given)
    if not batches:
        _tell(run, f"the stores hold none of the clips of {given}; run encode_videos again")
        return None
    return HeldOut(dataset, batches)


def is_due(run: TrainingRun, step: int) -> bool:
    """Whether held-out loss is measured after so many steps: at each `eval_every`, and the last."""
    every = run.config.eval_every
    return every is not None and (step % every == 0 or step == run.total_steps)


def timesteps_at(levels: Tensor, num_timesteps: int) -> Tensor:
    """Whole timesteps [B], as every scheduler takes them, at noise levels [B] in [0, 1)."""
    return (levels * num_timesteps).long()


def _draw(what: str, name: str, band: int) -> float:
    return random.Random(derive_seed(_SEED, "held_out", what, name, band)).random()


def _generator(name: str, band: int) -> torch.Generator:
    """On the CPU, so that every machine draws the same."""
    return torch.Generator().manual_seed(derive_seed(_SEED, "held_out", "noise", name, band))


def _tell(run: TrainingRun, why: str) -> None:
    if run.workers.is_main:
        log.warning("held-out loss is not measured (eval_every=%s): %s", run.config.eval_every, why)
