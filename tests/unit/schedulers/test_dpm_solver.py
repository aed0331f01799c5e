"""DPM-Solver++ against recorded numbers and against closed solutions."""

import pytest
import torch

from opensora.core.errors import ConfigError
from opensora.schedulers.dpms import DPMSolver
from opensora.schedulers.dpms.schedule import ContinuousSchedule, solver_times
from opensora.schedulers.dpms.solver import solve
from opensora.schedulers.iddpm.betas import beta_schedule

CASES = ["steps20_cfg4.0", "steps6_cfg4.0", "steps2_cfg1.0"]
EXTRAS = [
    "multistep_order3",
    "multistep_order1",
    "multistep_logsnr",
    "multistep_quadratic",
    "singlestep",
]


@pytest.fixture
def schedule():
    return ContinuousSchedule(beta_schedule("linear", 1000))


@pytest.mark.parametrize("name", CASES)
def test_samples_and_times_are_the_recorded_ones(golden, analytic, fixed_text, name):
    case = golden.facts["tags"]["v1.1.0"]["dpm"][name]
    solver = DPMSolver(num_sampling_steps=case["steps"], cfg_scale=case["cfg_scale"])
    z = golden("dpm/z")
    out = solver.sample(analytic, fixed_text("sample"), ["a", "b"], None, "cpu", z=z)
    torch.testing.assert_close(out, golden(f"v1.1.0/dpm/{name}/out"), atol=5e-5, rtol=1e-5)
    recorded = golden(f"v1.1.0/dpm/{name}/model_timesteps")
    torch.testing.assert_close(torch.stack(analytic.timesteps), recorded, atol=1e-3, rtol=0)
    times = solver_times(solver.schedule, case["steps"]).float()
    torch.testing.assert_close(times, golden(f"v1.1.0/dpm/{name}/time_steps"), atol=1e-6, rtol=0)
    assert len(analytic.timesteps) == case["nfe"]


@pytest.mark.parametrize("name", EXTRAS)
def test_other_orders_and_spacings_are_the_recorded_ones(golden, analytic, fixed_text, name):
    case = golden.facts["tags"]["v1.1.0"]["dpm"]["extra"][name]
    solver = DPMSolver(
        case["steps"], order=case["order"], skip_type=case["skip_type"], method=case["method"]
    )
    z = golden("dpm/z")
    out = solver.sample(analytic, fixed_text("sample"), ["a", "b"], None, "cpu", z=z)
    torch.testing.assert_close(out, golden(f"v1.1.0/dpm_extra/{name}"), atol=5e-5, rtol=1e-5)
    assert len(analytic.timesteps) == case["steps"]


def test_the_schedule_is_the_recorded_one(golden, schedule):
    torch.testing.assert_close(
        schedule.log_alphas.float(), golden("v1.1.0/dpm/log_alpha_array"), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(schedule.times.float(), golden("v1.1.0/dpm/t_array"))


def test_the_time_of_a_noise_level_inverts_the_schedule(schedule):
    times = torch.tensor([0.0015, 0.1, 0.5, 0.99], dtype=torch.float64)
    torch.testing.assert_close(schedule.time_of(schedule.half_log_snr(times)), times)
    torch.testing.assert_close(schedule.alpha(times) ** 2 + schedule.sigma(times) ** 2, times**0)


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_second_order_is_more_exact_than_first(schedule, method):
    """Data of unit variance: the predicted data is alpha * x, and x keeps its size exactly."""
    x = torch.ones(1, 1, dtype=torch.float64)

    def error(order, steps):
        out = solve(
            lambda x, time: schedule.alpha(time) * x,
            x,
            schedule,
            num_steps=steps,
            order=order,
            method=method,
            skip_type="logSNR",
        )
        return abs(out.item() - 1)

    assert error(2, 40) < error(1, 40) / 4
    assert error(2, 80) < error(2, 40) / 3  # second order: a quarter


def test_a_model_without_a_variance_keeps_all_its_channels(golden, analytic_mean, fixed_text):
    z = golden("dpm/z")
    out = DPMSolver(20).sample(analytic_mean, fixed_text("sample"), ["a", "b"], None, "cpu", z=z)
    torch.testing.assert_close(out, golden("v1.1.0/dpm/steps20_cfg4.0/out"), atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"order": 4}, "order is 4; multistep has 1 to 3"),
        ({"order": 3, "method": "singlestep"}, "singlestep has 1 to 2"),
        ({"num_sampling_steps": 1}, "needs at least 2"),
        ({"skip_type": "cosine"}, "skip_type is 'cosine'"),
        ({"method": "adaptive"}, "method is 'adaptive'"),
    ],
)
def test_fields_that_can_not_work_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        DPMSolver(**fields)


def test_training_and_masks_are_refused_with_the_alternative(golden, analytic, fixed_text):
    with pytest.raises(ConfigError, match="train the model with 'iddpm'"):
        DPMSolver().training_losses(analytic, golden("dpm/z"))
    with pytest.raises(ConfigError, match="'rflow' with a mask"):
        DPMSolver().sample(
            analytic, fixed_text("sample"), ["a"], (4, 4, 4, 4), "cpu", mask=torch.ones(1, 4)
        )
