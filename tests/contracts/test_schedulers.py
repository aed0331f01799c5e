"""What every registered scheduler promises."""

import pytest
import torch

from opensora.config.registry import SCHEDULERS, build_module, registered_names
from opensora.core.errors import ConfigError

NAMES = registered_names(SCHEDULERS)
SAMPLING_ONLY = {"dpm-solver"}
TRAINED = sorted(set(NAMES) - SAMPLING_ONLY)
DATA = torch.linspace(-1, 1, 2 * 3 * 4 * 2 * 2).view(2, 3, 4, 2, 2)  # [B, C, T, H, W]


KEEPING = [name for name in TRAINED if SCHEDULERS.get(name).keeps_frames]


class OneText:
    """Text embeddings that say nothing."""

    def encode(self, prompts):
        n = len(prompts)
        return {"y": torch.ones(n, 1, 2, 4), "mask": torch.ones(n, 2, dtype=torch.long)}

    def null(self, n):
        return {"y": torch.zeros(n, 1, 2, 4)}


class TrueModel:
    """Knows the data: gives the velocity or the noise that leads to them, and a variance."""

    def __init__(self, scheduler, data=DATA):
        self.scheduler, self.data = scheduler, data
        self.learned = getattr(scheduler, "learn_sigma", False)
        self.kind = type(scheduler).__name__
        self.chain = build_module({"type": "iddpm"}, SCHEDULERS).process

    def __call__(self, x, t, **_):
        data = self.data.repeat(len(x) // len(self.data), 1, 1, 1, 1).to(x)
        if self.kind == "RectifiedFlow":
            level = (t.float() / self.scheduler.num_timesteps).view(-1, 1, 1, 1, 1)
            return (data - x) / level  # x_0 - noise of the straight path through x
        if self.kind == "FlowMatch":
            level = (t.float() / self.scheduler.num_timesteps).view(-1, 1, 1, 1, 1)
            return (x - data) / level  # noise - x_0 of that path
        if self.kind == "VPrediction":
            kept, level = (
                self.scheduler.tables.on(x.device, name)[t.long()].view(-1, 1, 1, 1, 1)
                for name in ("data", "noise")
            )
            return kept * (x - kept * data) / level - level * data
        # noise of x: alphas_cumprod is continued between the whole timesteps
        table = self.chain.tables["alphas_cumprod"].log()
        low = t.floor().long()
        high = (low + 1).clamp(max=len(table) - 1)
        fraction = t.double() - low
        kept = (table[low] * (1 - fraction) + table[high] * fraction).exp().view(-1, 1, 1, 1, 1)
        noise = ((x.double() - kept.sqrt() * data) / (1 - kept).sqrt()).float()
        return torch.cat([noise, torch.zeros_like(noise)], 1) if self.learned else noise


def sampler(name, **fields):
    return build_module({"type": name, "num_sampling_steps": 10, **fields}, SCHEDULERS)


def draw(scheduler, model, seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    return scheduler.sample(
        model, OneText(), ["a", "b"], (3, 4, 2, 2), "cpu", generator=generator, **settings
    )


def test_the_registry_holds_the_schedulers_of_the_configs():
    assert set(NAMES) >= {
        "rflow",
        "flow-match",
        "iddpm",
        "iddpm-speed",
        "dpm-solver",
        "v-prediction",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_has_the_shape_asked_for(name):
    scheduler = sampler(name)
    assert draw(scheduler, TrueModel(scheduler)).shape == (2, 3, 4, 2, 2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_the_true_model_recovers_the_data(name, guidance_scale):
    scheduler = sampler(name)
    out = draw(scheduler, TrueModel(scheduler), guidance_scale=guidance_scale)
    # the solver ends at the chain's lowest noise level, 0.01, of which this is five deviations
    # and diffusers' UniPC tells the model its timesteps as whole numbers
    tolerance = {"rflow": 1e-4, "dpm-solver": 0.05, "flow-match": 0.05}.get(name, 1e-3)
    torch.testing.assert_close(out, DATA, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_each_step_tells_the_data_that_it_sees_behind_the_noise(name):
    scheduler, told = sampler(name), []
    out = draw(scheduler, TrueModel(scheduler), watch=lambda *given: told.append(given))
    assert [step for step, _ in told] == list(range(1, 11))
    for _, estimate in told:  # from pure noise on: the model knows them
        # a chain of a thousand steps tells the model whole timesteps, of which it sees 0.02
        torch.testing.assert_close(estimate(), DATA, atol=0.05, rtol=0)
    assert torch.equal(out, draw(scheduler, TrueModel(scheduler))), "looking changes nothing"


@pytest.mark.parametrize("name", KEEPING)
def test_what_is_told_of_kept_frames_is_what_was_given(name):
    scheduler, told = sampler(name), []
    z = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[0.0, 1, 1, 1], [1, 0, 1, 1]])
    draw(scheduler, TrueModel(scheduler), z=z, mask=mask, watch=lambda *one: told.append(one[1]()))
    kept = (mask == 0)[:, None, :, None, None].expand_as(z)
    assert all(torch.equal(estimate[kept], z[kept]) for estimate in told)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_one_sample_and_another_seed_another(name):
    scheduler = sampler(name)

    def model(x, t, **_):
        return torch.cat([x * 0.9, x * 0], 1) if TrueModel(scheduler).learned else x * 0.9

    first, again, other = (draw(scheduler, model, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_with_its_own_generator_does_not_depend_on_its_batch(name):
    scheduler = sampler(name)

    def model(x, t, **_):
        return torch.cat([x * 0.9, x * 0], 1) if TrueModel(scheduler).learned else x * 0.9

    def make(seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        prompts = ["p"] * len(seeds)
        size = (3, 4, 2, 2)
        return scheduler.sample(model, OneText(), prompts, size, "cpu", generator=generators)

    together = make([5, 6, 7])
    for row, seed in enumerate([5, 6, 7]):
        assert torch.equal(make([seed])[0], together[row])


@pytest.mark.parametrize("name", KEEPING)
def test_kept_frames_are_kept_exactly(name):
    scheduler = sampler(name)
    z = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    part = (
        1 if name == "flow-match" else 0.5
    )  # its solver looks back, and refuses what lies between
    mask = torch.tensor([[0.0, 1, 1, part], [1, 0, 1, 1]])
    out = draw(scheduler, TrueModel(scheduler), z=z, mask=mask)
    kept = (mask == 0)[:, None, :, None, None].expand_as(z)
    assert torch.equal(out[kept], z[kept])
    assert (out[~kept] != z[~kept]).all()


@pytest.mark.parametrize("name", TRAINED)
def test_the_lowest_timestep_shows_the_model_the_data(name):
    scheduler = build_module({"type": name}, SCHEDULERS)
    seen = {}

    def model(x, t, **_):
        seen["x"] = x
        return torch.cat([x, x], 1)

    noise = torch.ones_like(DATA)
    scheduler.training_losses(model, DATA, torch.zeros(2, dtype=torch.long), noise=noise)
    # the diffusion chains begin at noise 0.01, and that of CogVideoX at 0.05
    tolerance = {"rflow": 0, "v-prediction": 0.052}.get(name, 0.011)
    torch.testing.assert_close(seen["x"], DATA, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_is_per_sample_and_smallest_for_the_true_model(name):
    scheduler = build_module({"type": name}, SCHEDULERS)
    true = TrueModel(scheduler)
    noise = torch.randn(DATA.shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([500, 900])
    good = scheduler.training_losses(true, DATA, t, noise=noise)["loss"]
    bad = scheduler.training_losses(lambda x, t, **_: true(x, t) * 0, DATA, t, noise=noise)["loss"]
    assert good.shape == (2,)
    assert (good < 0.05).all()
    assert (bad > 0.2).all()


@pytest.mark.parametrize("name", TRAINED)
def test_training_draws_are_reproducible_and_cover_the_chain(name):
    scheduler = build_module({"type": name}, SCHEDULERS)
    seen = []

    def model(x, t, **_):
        seen.append(t)
        return torch.cat([x, x], 1)

    x = torch.zeros(256, 1, 1, 1, 1)
    for _ in range(2):
        scheduler.training_losses(model, x, generator=torch.Generator().manual_seed(3))
    assert torch.equal(seen[0], seen[1])
    assert seen[0].min() < 100
    assert seen[0].max() > 900
    assert ((seen[0] >= 0) & (seen[0] <= 1000)).all()


@pytest.mark.parametrize("name", KEEPING)
def test_the_loss_has_a_gradient_and_hidden_frames_none(name):
    scheduler = build_module({"type": name}, SCHEDULERS)
    output = torch.zeros(2, 6, 4, 2, 2, requires_grad=True)
    mask = torch.tensor([[True, True, False, False]] * 2)
    terms = scheduler.training_losses(
        lambda *_, **__: output, DATA, torch.tensor([100, 500]), mask=mask
    )
    terms["loss"].sum().backward()
    assert output.grad[:, :, 2:].abs().max() == 0
    assert output.grad[:, :, :2].abs().max() > 0


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'cfg_scale'"):
        build_module({"type": "rflow", "cfgscale": 2.0}, SCHEDULERS)
