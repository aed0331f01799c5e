import pytest
import torch

from opensora.acceleration.workers import Workers
from opensora.schedulers.iddpm import IDDPM
from opensora.schedulers.rf import RectifiedFlow
from opensora.training.watched.losses import (
    LossSums,
    Timed,
    highest_timestep,
    mean_of_all,
    means,
)

ALONE = Workers(0, 1, torch.device("cpu"))


def filled(parts) -> LossSums:
    sums = LossSums()
    for bucket, levels, losses in parts:
        sums.add(bucket, torch.tensor(levels), torch.tensor(losses))
    return sums


def test_means_are_those_of_the_clips_of_a_band_and_of_a_bucket():
    nan = float("nan")
    sums = filled([("a", [0.1, 0.2, 1.0, 0.5], [1.0, 2.0, 6.0, nan]), ("b", [0.24], [3.0])])
    collected = sums.collected(ALONE)
    assert means(collected) == {
        "loss_by_band": {"0.00-0.25": 2.0, "0.25-0.50": None, "0.50-0.75": None, "0.75-1.00": 6.0},
        "loss_by_bucket": {"a": 3.0, "b": 3.0},
    }
    assert mean_of_all(collected) == 3.0
    sums.clear()
    assert mean_of_all(sums.collected(ALONE)) is None


def test_sums_that_a_checkpoint_carries_go_on_to_the_last_bit():
    generator = torch.Generator().manual_seed(1)
    parts = [
        (f"{k % 3}", *torch.rand(2, 7, generator=generator).mul(1.3).clamp(max=1).tolist())
        for k in range(30)
    ]
    resumed = filled(parts[11:])
    resumed.carry(filled(parts[:11]).collected(ALONE))
    assert resumed.collected(ALONE) == filled(parts).collected(ALONE)


@pytest.mark.parametrize(
    "scheduler", [IDDPM(), IDDPM(timestep_respacing="10"), RectifiedFlow(num_timesteps=500)]
)
def test_noise_levels_of_every_scheduler_span_all_bands(scheduler):
    model = Timed(lambda x, t, **_: torch.zeros(len(x), 2 * x.shape[1], *x.shape[2:]))
    x = torch.zeros(64, 4, 1, 2, 2)
    generator = torch.Generator().manual_seed(0)
    losses = scheduler.training_losses(model, x, generator=generator)["loss"]
    levels = model.timesteps / highest_timestep(scheduler)
    sums = LossSums()
    sums.add("a", levels, losses)
    assert all(count > 4 for _, count in sums.collected(ALONE)["a"])
