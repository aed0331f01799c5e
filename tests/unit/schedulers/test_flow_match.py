"""Flow matching whose shift grows with the latents, as diffusers' scheduler for LTX-Video."""

import math

import diffusers
import numpy as np
import pytest
import torch

from opensora.config.registry import SCHEDULERS, build_module
from opensora.core.errors import ConfigError

LTX = {"type": "flow-match", "solver": "euler-even", "log_shift": {1024: 0.95, 4096: 2.05}}


@pytest.mark.parametrize("size", [(1, 1, 16, 16, 24), (1, 1, 21, 16, 24)])
def test_the_steps_are_those_of_a_dynamic_shift_and_a_last_step_of_diffusers(size):
    seen = []

    class Texts:
        def encode(self, prompts):
            return {"y": torch.zeros(1, 1, 1, 1)}

        def null(self, n):
            return {"y": torch.zeros(1, 1, 1, 1)}

    def model(x, t, **_):
        seen.append(float(t[0]))
        return x

    scheduler = build_module(
        {**LTX, "shift_terminal": 0.1, "num_sampling_steps": 6, "cfg_scale": 1.0}, SCHEDULERS
    )
    scheduler.sample(model, Texts(), ["a"], None, "cpu", z=torch.ones(size))
    wanted = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, shift_terminal=0.1
    )
    mu = 0.95 + (math.prod(size) - 1024) * (2.05 - 0.95) / (4096 - 1024)
    wanted.set_timesteps(sigmas=np.linspace(1, 1 / 6, 6), mu=mu)
    np.testing.assert_allclose(seen, wanted.timesteps, rtol=1e-5)
    assert seen[-1] == pytest.approx(100)


def test_drawn_timesteps_of_larger_videos_are_noisier():
    scheduler = build_module(LTX, SCHEDULERS)
    drawn = []

    def model(x, t, **_):
        drawn.append(t)
        return x

    for frames in (2, 32):
        generator = torch.Generator().manual_seed(0)
        scheduler.training_losses(model, torch.zeros(4, 1, frames, 8, 8), generator=generator)
    small, large = (t / 1000 for t in drawn)
    # one is a logit of the other plus the difference of the two logarithms
    rise = (32 - 2) * 64 * (2.05 - 0.95) / (4096 - 1024)
    torch.testing.assert_close(large.logit(), small.logit() + rise, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"log_shift": {1024: 0.95}}, "expected it at two numbers of latent values"),
        (
            {"solver": "heun"},
            "solver is 'heun'; expected 'unipc' or 'dpm' or 'euler' or 'euler-even'",
        ),
        ({"sample_method": "normal"}, "sample_method is 'normal'; expected 'uniform' or"),
        (
            {"num_sampling_steps": 0},
            "num_sampling_steps is 0; expected a whole number of at least 1",
        ),
        ({"shift_terminal": 0.1, "solver": "euler"}, "between 0 and 1, with 'euler-even'"),
    ],
)
def test_a_value_that_can_not_be_meant_is_one_sentence(fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_module({**LTX, **fields}, SCHEDULERS)
