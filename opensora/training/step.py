"""One optimizer step: everything random in it follows from (seed, position in the plan)."""

import random
from collections.abc import Iterable
from itertools import chain, islice

import torch
from torch import Tensor

from opensora.core.seed import derive_seed
from opensora.datasets.stored import LatentBatch
from opensora.schedulers.common import Conditions, Model, map_conditions
from opensora.training.device.facts import Facts, Part
from opensora.training.device.flight import Flight
from opensora.training.start import TrainingRun
from opensora.training.watched.losses import Timed, highest_timestep
from opensora.training.watched.watch import FIRST_STEPS


def train_step(
    run: TrainingRun,
    step: int,
    position: int,
    batch: LatentBatch,
    *,
    stop: bool,
    end: bool = False,
    more: Iterable[tuple[int, LatentBatch]] = (),
) -> Flight:
    """Forward, backward and update on the micro batches of one step.

    Nothing here waits for the device. Where loss or gradient is not a finite number the device
    leaves the update out, and whoever reads the numbers of the step is told.

    With `accumulate` the loss is the mean over all clips of the step, those of the other workers
    included. Without it each worker counts the same, whatever the size of its batch.

    Args:
        run: model, optimizer and what goes with them.
        step: optimizer step, from 0.
        position: of the first micro batch in the plan; all randomness follows from it.
        batch: the first micro batch.
        stop: this worker was asked to stop.
        end: this worker was asked to be done here.
        more: positions and micro batches of the rest, each taken when its turn comes.

    Returns:
        The step, whose numbers are on their way.
    """
    engine = run.engine
    lr = run.schedule.apply(engine.optimizer.optim, step)
    micro_batches = chain([(position, batch)], more)
    clips = _num_clips(run)
    seen: list[Part] = []
    # 1. gradients of all micro batches but the last stay on this worker
    for place, micro_batch in islice(micro_batches, run.config.accumulate - 1):
        with engine.no_sync():
            engine.backward(_forward(run, step, place, micro_batch, clips, seen))
    # 2. gradients, averaged over the workers
    engine.backward(_forward(run, step, *next(micro_batches), clips, seen))
    # 3. update, if the loss that all workers agree on lets it
    facts = Facts(seen, stop=stop, end=end)
    run.workers.sum(facts.shared)
    facts.send(engine.update(facts.shared[0].isfinite()))
    return Flight(step, position, lr, seen, facts, engine.overflowed)


def _num_clips(run: TrainingRun) -> int | None:
    """Clips of the coming step, on all workers; None where only one micro batch is dealt to each.

    The plan knows them, so that no worker has to ask the others.
    """
    if run.config.accumulate == 1:
        return None
    first = run.counters.micro_batches
    offsets = run.source.plan.entries.offsets
    return int(offsets[first + run.workers.num_groups * run.config.accumulate] - offsets[first])


def _forward(
    run: TrainingRun,
    step: int,
    position: int,
    batch: LatentBatch,
    clips: int | None,
    seen: list[Part],
) -> Tensor:
    """Loss of a micro batch as its worker adds it to that of the step; `seen` takes it in."""
    engine, device, seed = run.engine, run.workers.device, run.config.seed
    torch.manual_seed(derive_seed(seed, "dropout", position))
    noise_seed = derive_seed(seed, "noise", position)
    latents, conditions = on_device(batch, device)
    mask = _clean_frames(run, latents, position)

    def losses(model: Model) -> Tensor:  # [B]
        generator = torch.Generator(device).manual_seed(noise_seed)
        terms = run.scheduler.training_losses(
            model, latents, model_kwargs=conditions, mask=mask, generator=generator
        )
        return terms["loss"]

    timed = Timed(engine.model)
    with engine.autocast():
        of_clips = losses(timed)
        loss = of_clips.mean()
    levels = timed.timesteps / highest_timestep(run.scheduler)
    run.losses.add(str(run.source.plan[position].bucket), levels, of_clips)
    weight = 1.0
    if clips is not None:  # the groups' sum is divided by their number
        weight = len(latents) * run.workers.num_groups / clips
        loss = loss * weight
    predict_zero = None
    if step < FIRST_STEPS:
        channels = int(getattr(engine.module, "out_channels", latents.shape[1]))
        predict_zero = losses(_PredictZero(channels)).mean().detach()
    seen.append(Part(batch["ids"], loss.detach(), weight, predict_zero))
    return loss


def _clean_frames(run: TrainingRun, latents: Tensor, position: int) -> Tensor | None:
    """Frames of latents [B, C, T, H, W] that are trained on: [B, T]; None trains on all."""
    if run.masks is None:
        return None
    rng = random.Random(derive_seed(run.config.seed, "mask", position))
    masks = run.masks.get_masks(len(latents), latents.shape[2], rng)
    return masks.to(latents.device, non_blocking=True)


def on_device(batch: LatentBatch, device: torch.device) -> tuple[Tensor, Conditions]:
    """Latents [B, C, T, H, W] and the conditions of the model.

    Stores keep half precision: it is copied narrow and widened on the device.
    """
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    latents = tensors.pop("latents").to(device, non_blocking=True).float()

    def widened(value: Tensor) -> Tensor:
        moved = value.to(device, non_blocking=True)
        return moved.float() if moved.is_floating_point() else moved  # labels stay whole numbers

    return latents, map_conditions(widened, tensors)


class _PredictZero:
    """A model that has learned nothing."""

    def __init__(self, out_channels: int) -> None:
        self._out_channels = out_channels

    def __call__(self, x: Tensor, timestep: Tensor, /, **_: Tensor) -> Tensor:
        return x.new_zeros(len(x), self._out_channels, *x.shape[2:])
