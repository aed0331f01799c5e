"""Chains, tables and single steps against recorded numbers."""

import math

import numpy as np
import pytest
import torch

from opensora.core.errors import ConfigError
from opensora.schedulers.iddpm.betas import beta_schedule
from opensora.schedulers.iddpm.losses import normal_kl, variational_bound
from opensora.schedulers.iddpm.process import GaussianProcess
from opensora.schedulers.iddpm.respace import respaced_betas, space_timesteps
from opensora.schedulers.iddpm.steps import ddim_step, ddpm_step

F64 = "v1.1.0-f64"
RESPACINGS = {
    "full": "1000",
    "10": "10",
    "100": "100",
    "ddim25": "ddim25",
    "10-15-20": [10, 15, 20],
}
STEP = {"full": "full", "short": "10"}


def make_process(respacing, **kinds):
    steps = space_timesteps(1000, RESPACINGS[respacing])
    return GaussianProcess(respaced_betas(beta_schedule("linear", 1000), steps), **kinds)


@pytest.mark.parametrize("respacing", RESPACINGS)
def test_tables_are_the_recorded_ones_in_float64(golden, respacing):
    tables = make_process(respacing).tables
    compared = 0
    for name, table in tables.items():
        key = f"{F64}/tables/{respacing}/{name}"
        if key in golden:
            np.testing.assert_allclose(table.numpy(), golden(key).numpy(), rtol=1e-10)
            compared += 1
    assert compared == 11
    steps = space_timesteps(1000, RESPACINGS[respacing])
    assert steps == golden(f"{F64}/tables/{respacing}/timestep_map").tolist()


@pytest.mark.parametrize(("name", "steps"), [("linear", 1000), ("linear", 500)])
def test_base_betas_are_the_recorded_ones(golden, name, steps):
    key = f"{F64}/base_betas_{name}_{steps}"
    np.testing.assert_allclose(beta_schedule(name, steps), golden(key).numpy(), rtol=1e-10)


@pytest.mark.parametrize("name", ["quad", "warmup10", "warmup50", "const", "jsd"])
def test_other_schedules_are_the_recorded_ones(golden, name):
    betas = beta_schedule(name, 40, start=1e-4, end=2e-2)
    np.testing.assert_allclose(betas, golden(f"{F64}/get_beta_schedule_40/{name}").numpy())


def test_the_cosine_schedule_is_available_and_has_its_published_values(golden):
    betas = beta_schedule("squaredcos_cap_v2", 1000)
    recorded = golden("v1.0.0/base_betas_squaredcos_cap_v2_1000").numpy()
    np.testing.assert_allclose(betas, recorded, rtol=1e-10)
    half = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert np.prod(1 - betas[:500]) == pytest.approx(half / start)


def test_an_unknown_schedule_names_the_known_ones():
    with pytest.raises(ConfigError, match="squaredcos_cap_v2"):
        beta_schedule("cosine", 10)


def test_kept_timesteps_are_the_recorded_ones(golden):
    cases = golden.facts["tags"]["v1.1.0"]["space_timesteps"]
    assert len(cases) == 15
    for case in cases:
        arguments = case["num_timesteps"], case["section_counts"]
        if case["error"]:
            with pytest.raises(ConfigError):
                space_timesteps(*arguments)
        else:
            assert space_timesteps(*arguments) == case["result"], case


@pytest.mark.parametrize("text", ["", "ten", "ddim", "10,"])
def test_a_respacing_that_is_no_number_is_refused(text):
    with pytest.raises(ConfigError, match="expected numbers"):
        space_timesteps(1000, text)


def test_the_ddim_error_names_the_number_that_was_asked_for():
    with pytest.raises(ConfigError, match="'ddim37'"):
        space_timesteps(1000, "ddim37")


def test_noising_and_the_true_step_back_are_the_recorded_ones(golden):
    process = make_process("full")
    x0, t = golden("train/x0"), golden("train/t")
    noised = process.q_sample(x0, t, golden("train/noise"))
    torch.testing.assert_close(noised, golden(f"{F64}/train/q_sample"), atol=1e-6, rtol=1e-6)
    mean = process.q_posterior_mean(x0, noised, t)
    recorded = golden(f"{F64}/train/q_posterior_mean")
    torch.testing.assert_close(mean, recorded, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("chain", STEP)
@pytest.mark.parametrize("clip", [0, 1])
def test_the_networks_output_is_read_as_recorded(golden, analytic, chain, clip):
    process = make_process(STEP[chain])
    x, t, output = step_inputs(golden, analytic, chain)
    step = process.p_mean_variance(output, x, t, clip_denoised=bool(clip))
    for name, value in step._asdict().items():
        recorded = golden(f"{F64}/pmv/{chain}/clip{clip}/{name}")
        torch.testing.assert_close(value, recorded, atol=5e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("size", ["large", "small"])
def test_fixed_variances_are_the_recorded_ones(golden, analytic_mean, size):
    process = make_process("full", variance_kind=f"fixed_{size}")
    x, t = golden("train/x0"), golden("train/t")
    output = analytic_mean(x, t, y=golden("train/y"))
    for name, value in process.p_mean_variance(output, x, t)._asdict().items():
        recorded = golden(f"v1.0.0/pmv_fixed_{size}/{name}")
        torch.testing.assert_close(value, recorded, atol=5e-5, rtol=1e-5, msg=name)


def test_channels_that_do_not_fit_the_variance_are_refused(golden, analytic, analytic_mean):
    x, t, output = step_inputs(golden, analytic, "full")
    with pytest.raises(ValueError, match="pred_sigma"):
        make_process("full", variance_kind="fixed_large").p_mean_variance(output, x, t)
    with pytest.raises(ValueError, match="8"):
        make_process("full").p_mean_variance(analytic_mean(x, t), x, t)


@pytest.mark.parametrize("chain", STEP)
def test_ancestral_and_implicit_steps_are_the_recorded_ones(golden, analytic, chain):
    process = make_process(STEP[chain])
    x, t, output = step_inputs(golden, analytic, chain)
    noise = golden("psample/noise")
    steps = {
        f"psample/{chain}/sample": ddpm_step(process, output, x, t, noise),
        f"ddim/{chain}/eta0.0": ddim_step(process, output, x, t, noise),
        f"ddim/{chain}/eta0.5": ddim_step(process, output, x, t, noise, eta=0.5),
    }
    for key, value in steps.items():
        torch.testing.assert_close(value, golden(f"{F64}/{key}"), atol=5e-5, rtol=1e-5, msg=key)


def test_the_true_output_makes_the_bound_zero_and_equal_gaussians_do_not_differ():
    process = make_process("full", mean_kind="data")
    x0, noise = torch.randn(2, 2, 3, 4, 5).chunk(2)
    t = torch.tensor([300])
    exact = torch.cat([x0, -torch.ones_like(x0)], 1)  # -1 is the posterior's own variance
    x_t = process.q_sample(x0, t, noise)
    bound = variational_bound(process, exact, x0, x_t, t)
    assert bound.item() == pytest.approx(0, abs=1e-6)
    two, one = torch.tensor(2.0), torch.tensor(1.0)
    assert normal_kl(two, one, two, one).item() == pytest.approx(0)
    # unit Gaussians two apart differ by 2^2 / 2 nats
    assert normal_kl(two, 0 * one, 0 * one, 0 * one).item() == pytest.approx(2)


def step_inputs(golden, network, chain):
    """x, chain indices and the network's output at their timesteps."""
    x, t = golden("psample/x"), golden(f"psample/t_{chain}")
    steps = torch.tensor(space_timesteps(1000, RESPACINGS[STEP[chain]]))
    return x, t, network(x, steps[t], y=golden("psample/y"))
