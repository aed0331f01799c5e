"""One optimizer step: everything random in it follows from (seed, position in the plan)."""

import math
import random
from dataclasses import dataclass

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


def train_step(
    run: TrainingRun, step: int, position: int, batch: LatentBatch, *, stop: bool, end: bool = False
) -> StepResult:
    """Forward, backward and update on one micro batch.

    Args:
        run: model, optimizer and what goes with them.
        step: optimizer step, from 0.
        position: of the micro batch in the plan; all randomness follows from it.
        batch: the micro batch.
        stop: this worker was asked to stop.
        end: this worker was asked to be done here.

    Raises:
        OpenSoraError: loss or gradient is not a finite number.
    """
    engine, device, seed = run.engine, run.workers.device, run.config.seed
    # 1. randomness and learning rate of this step
    torch.manual_seed(derive_seed(seed, "dropout", position))
    noise_seed = derive_seed(seed, "noise", position)
    lr = run.schedule.apply(engine.optimizer.optim, step)
    latents, conditions = _on_device(batch, device)
    mask = _clean_frames(run, latents, position)

    def losses(model: Model) -> Tensor:
        generator = torch.Generator(device).manual_seed(noise_seed)
        terms = run.scheduler.training_losses(
            model, latents, model_kwargs=conditions, mask=mask, generator=generator
        )
        return terms["loss"].mean()

    # 2. loss, agreed on by all workers before it can touch the weights
    with engine.autocast():
        loss = losses(engine.model)
    facts = torch.stack(
        (loss.detach().double(), *latents.new_tensor([len(latents), stop, end]).double())
    )
    total_loss, samples, stops, ends = run.workers.sum(facts).tolist()
    if not math.isfinite(total_loss):
        raise _not_finite(run, step, batch["ids"], "loss", loss.detach())
    # 3. gradients and update
    engine.backward(loss)
    grad_norm = engine.update()
    if not grad_norm.isfinite() and not engine.overflowed:
        raise _not_finite(run, step, batch["ids"], "gradient", grad_norm)
    predict_zero = None
    if step < FIRST_STEPS:
        channels = int(getattr(engine.module, "out_channels", latents.shape[1]))
        predict_zero = float(losses(_PredictZero(channels)))
    return StepResult(
        loss=total_loss / run.workers.world_size,
        grad_norm=float(grad_norm),
        lr=lr,
        samples=int(samples) // run.workers.sp_size,
        stop=stops > 0,
        end=ends > 0,
        predict_zero=predict_zero,
    )


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


def _not_finite(
    run: TrainingRun, step: int, ids: list[str], what: str, mine: Tensor
) -> OpenSoraError:
    """The error that names the clips which broke the run, on whatever worker they were."""
    parts = run.workers.gather([] if mine.isfinite() else ids)
    broken = dict.fromkeys(name for part in parts for name in part)  # a group has the same
    return OpenSoraError(
        f"train: the {what} of step {step + 1} is not a finite number, clips"
        f" {', '.join(broken)}; the newest checkpoint in"
        f" {run.config.state_folder} is from before: lower lr or look at these clips' latents,"
        " and run the command again"
    )
