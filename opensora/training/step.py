"""One optimizer step: everything random in it follows from (seed, position in the plan)."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import Tensor

from opensora.core.errors import OpenSoraError
from opensora.core.seed import derive_seed
from opensora.datasets.stored import LatentBatch
from opensora.schedulers.common import Conditions, Model, map_conditions
from opensora.training.start import TrainingRun
from opensora.training.watch import FIRST_STEPS


@dataclass(frozen=True)
class StepResult:
    """What one step says, equal on all workers except `predict_zero`.

    Attributes:
        loss: mean over the workers.
        grad_norm: before clipping.
        lr: of the first parameter group.
        samples: clips seen by all workers.
        stop: a worker was asked to stop.
        end: the run was asked to be done here.
        predict_zero: loss of a model that always predicts zero, in the first steps.
    """

    loss: float
    grad_norm: float
    lr: float
    samples: int
    stop: bool
    end: bool
    predict_zero: float | None


@dataclass(frozen=True)
class _Seen:
    """What is kept of a micro batch once its gradients are there.

    Attributes:
        ids: of its clips.
        loss: its share of the step's, on the device.
        weight: of its mean loss in the step's mean over all groups; 1 without `accumulate`.
        predict_zero: loss of a model that always predicts zero, in the first steps.
    """

    ids: list[str]
    loss: Tensor
    weight: float
    predict_zero: float | None


def train_step(
    run: TrainingRun,
    step: int,
    position: int,
    batch: LatentBatch,
    *,
    stop: bool,
    end: bool = False,
    more: Iterable[tuple[int, LatentBatch]] = (),
) -> StepResult:
    """Forward, backward and update on the micro batches of one step.

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

    Raises:
        OpenSoraError: loss or gradient is not a finite number.
    """
    engine = run.engine
    lr = run.schedule.apply(engine.optimizer.optim, step)
    micro_batches = chain([(position, batch)], more)
    clips = _num_clips(run)
    seen: list[_Seen] = []
    # 1. gradients of all micro batches but the last stay on this worker
    for place, micro_batch in islice(micro_batches, run.config.accumulate - 1):
        with engine.no_sync():
            engine.backward(_forward(run, step, place, micro_batch, clips, seen))
    # 2. loss, agreed on by all workers before it can touch the weights
    loss = _forward(run, step, *next(micro_batches), clips, seen)
    mine = torch.stack([part.loss for part in seen]).sum()
    samples = sum(len(part.ids) for part in seen)
    facts = torch.stack((mine.double(), *mine.new_tensor([samples, stop, end]).double()))
    total_loss, samples, stops, ends = run.workers.sum(facts).tolist()
    if not math.isfinite(total_loss):
        broken = [name for part in seen if not part.loss.isfinite() for name in part.ids]
        raise _not_finite(run, step, broken, "loss")
    # 3. gradients, averaged over the workers, and update
    engine.backward(loss)
    grad_norm = engine.update()
    if not grad_norm.isfinite() and not engine.overflowed:
        raise _not_finite(run, step, [name for part in seen for name in part.ids], "gradient")
    return StepResult(
        loss=total_loss / run.workers.world_size,
        grad_norm=float(grad_norm),
        lr=lr,
        samples=int(samples) // run.workers.sp_size,
        stop=stops > 0,
        end=ends > 0,
        predict_zero=_mean_of_zero(seen),
    )


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
    seen: list[_Seen],
) -> Tensor:
    """Loss of a micro batch as its worker adds it to that of the step; `seen` takes it in."""
    engine, device, seed = run.engine, run.workers.device, run.config.seed
    torch.manual_seed(derive_seed(seed, "dropout", position))
    noise_seed = derive_seed(seed, "noise", position)
    latents, conditions = _on_device(batch, device)
    mask = _clean_frames(run, latents, position)

    def losses(model: Model) -> Tensor:
        generator = torch.Generator(device).manual_seed(noise_seed)
        terms = run.scheduler.training_losses(
            model, latents, model_kwargs=conditions, mask=mask, generator=generator
        )
        return terms["loss"].mean()

    with engine.autocast():
        loss = losses(engine.model)
    weight = 1.0
    if clips is not None:  # the groups' sum is divided by their number
        weight = len(latents) * run.workers.num_groups / clips
        loss = loss * weight
    predict_zero = None
    if step < FIRST_STEPS:
        channels = int(getattr(engine.module, "out_channels", latents.shape[1]))
        predict_zero = float(losses(_PredictZero(channels)))
    seen.append(_Seen(batch["ids"], loss.detach(), weight, predict_zero))
    return loss


def _mean_of_zero(seen: Sequence[_Seen]) -> float | None:
    """Loss of predicting zero in this worker's part of a step; None after the first steps."""
    known = [(part.predict_zero, part.weight) for part in seen if part.predict_zero is not None]
    if not known:
        return None
    return sum(loss * weight for loss, weight in known) / sum(weight for _, weight in known)


def _clean_frames(run: TrainingRun, latents: Tensor, position: int) -> Tensor | None:
    """Frames of latents [B, C, T, H, W] that are trained on: [B, T]; None trains on all."""
    if run.masks is None:
        return None
    rng = random.Random(derive_seed(run.config.seed, "mask", position))
    return run.masks.get_masks(len(latents), latents.shape[2], rng).to(latents.device)


def _on_device(batch: LatentBatch, device: torch.device) -> tuple[Tensor, Conditions]:
    """Latents [B, C, T, H, W] and the conditions of the model.

    Stores keep half precision: it is copied narrow and widened on the device.
    """
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    latents = tensors.pop("latents").to(device, non_blocking=True).float()
    conditions = map_conditions(lambda value: value.to(device, non_blocking=True), tensors)
    if conditions["y"].is_floating_point():  # labels stay whole numbers
        conditions["y"] = conditions["y"].float()
    return latents, conditions


class _PredictZero:
    """A model that has learned nothing."""

    def __init__(self, out_channels: int) -> None:
        self._out_channels = out_channels

    def __call__(self, x: Tensor, timestep: Tensor, /, **_: Tensor) -> Tensor:
        return x.new_zeros(len(x), self._out_channels, *x.shape[2:])


def _not_finite(run: TrainingRun, step: int, ids: list[str], what: str) -> OpenSoraError:
    """The error that names the clips which broke the run, on whatever worker they were."""
    parts = run.workers.gather(ids)
    broken = dict.fromkeys(name for part in parts for name in part)  # a group has the same
    return OpenSoraError(
        f"train: the {what} of step {step + 1} is not a finite number, clips"
        f" {', '.join(broken)}; the newest checkpoint in"
        f" {run.config.state_folder} is from before: lower lr or look at these clips' latents,"
        " and run the command again"
    )
