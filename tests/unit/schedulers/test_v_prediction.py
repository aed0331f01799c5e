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


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"solver": "unipc"}, "solver is 'unipc'; use 'ddim' or 'dpm'"),
        ({"snr_shift": 0}, "expected a number above 0"),
        ({"num_sampling_steps": 1001}, "expected 1 to 1000"),
    ],
)
def test_a_value_that_can_not_be_meant_is_one_sentence(fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_module({"type": "v-prediction", **fields}, SCHEDULERS)
