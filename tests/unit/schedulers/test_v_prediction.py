"""v-prediction against the schedulers of diffusers that CogVideoX has."""

import diffusers
import pytest
import torch

from opensora.config.registry import SCHEDULERS, build_module
from opensora.core.errors import ConfigError
from opensora.schedulers.iddpm.v_prediction import chain


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_each_timestep_has_the_data_and_noise_of_diffusers_own_chain(shift):
    schedule = diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=shift
    )
    kept = schedule.alphas_cumprod
    found = chain(shift)
    torch.testing.assert_close(found["data"], kept.sqrt().float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(found["noise"], (1 - kept).sqrt().float(), atol=1e-6, rtol=0)
    assert found["data"][-1] == 0


def test_dpm_draws_the_noise_of_a_sample_from_its_own_generator():
    scheduler = build_module(
        {"type": "v-prediction", "solver": "dpm", "num_sampling_steps": 4}, SCHEDULERS
    )

    class Texts:
        def encode(self, prompts):
            return {"y": torch.zeros(len(prompts), 1, 1, 1)}

    def make(seeds):
        generators = tuple(torch.Generator().manual_seed(seed) for seed in seeds)
        return scheduler.sample(
            lambda x, t, **_: x * 0.5,
            *(Texts(), ["a"] * len(seeds), (3, 2, 2, 2), "cpu"),
            guidance_scale=1.0,
            generator=generators,
        )

    together = make([5, 6])
    for row, seed in enumerate([5, 6]):
        torch.testing.assert_close(make([seed])[0], together[row], atol=1e-6, rtol=1e-6)
    assert (together[0] - together[1]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"solver": "unipc"}, "solver is 'unipc'; expected 'ddim' or 'dpm'"),
        ({"solver": None}, "solver is None; expected 'ddim' or 'dpm'"),
        (
            {"num_sampling_steps": 0},
            "num_sampling_steps is 0; expected a whole number of at least 1",
        ),
        ({"snr_shift": 0}, "expected a number above 0"),
        ({"num_sampling_steps": 1001}, "expected 1 to 1000"),
    ],
)
def test_a_value_that_can_not_be_meant_is_one_sentence(fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_module({"type": "v-prediction", **fields}, SCHEDULERS)
