"""Rectified flow against recorded numbers and formulas worked out by hand."""

import math

import pytest
import torch

from opensora.core.errors import ConfigError
from opensora.schedulers.rf import RectifiedFlow, rectified_flow
from opensora.schedulers.rf.timesteps import draw_timesteps, timestep_transform

BELOW_ONE_CHUNK = 4  # the recorded case of 16 frames, which holds NaN


def _latent_frames(num_frames):
    """Of the autoencoder of Open-Sora 1.2, which is the only one that its rule knows."""
    return int(num_frames) // 17 * 5


def _size(**size):
    return {name: torch.tensor([float(value)] * 11) for name, value in size.items()}


@pytest.mark.parametrize("case", [0, 1, 2, 3, 5, 6])
@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("transform", {"num_timesteps": 1000}),
        ("transform_scale", {"num_timesteps": 1000, "scale": 0.7}),
        ("transform_unit", {"num_timesteps": 1}),
    ],
)
def test_the_timestep_transform_gives_the_recorded_numbers(golden, case, key, settings):
    t = golden("rf/transform/t")
    if settings["num_timesteps"] == 1:
        t = t / 1000
    size = golden.facts["tags"]["v1.2.0"]["rf_transform_cases"][case]
    frames = 1 if size["num_frames"] == 1 else _latent_frames(size["num_frames"])
    moved = timestep_transform(t, _size(**size), frames, **settings)
    torch.testing.assert_close(moved, golden(f"rf/{key}/{case}"), atol=1e-4, rtol=1e-5)


def test_a_clip_shorter_than_a_chunk_is_shifted_by_its_true_latent_frames(golden):
    t = golden("rf/transform/t")
    assert torch.isnan(golden(f"rf/transform/{BELOW_ONE_CHUNK}")).any()
    size = golden.facts["tags"]["v1.2.0"]["rf_transform_cases"][BELOW_ONE_CHUNK]
    assert size == {"height": 144, "width": 256, "num_frames": 16}
    moved = timestep_transform(t, _size(**size), 4, num_timesteps=1000)
    ratio = math.sqrt(144 * 256 / 512**2) * math.sqrt(4)  # 16 frames are 4 latent frames
    expected = 1000 * ratio * (t / 1000) / (1 + (ratio - 1) * t / 1000)
    torch.testing.assert_close(moved, expected)
    assert moved.isfinite().all()


def test_the_shift_follows_the_latents_that_are_there_whatever_made_them(analytic):
    size = {name: torch.full((2,), value) for name, value in (("height", 512.0), ("width", 512.0))}
    scheduler = RectifiedFlow(use_timestep_transform=True)
    for frames in (1, 4, 9):  # 17 frames of three autoencoders
        analytic.timesteps.clear()
        generator = torch.Generator().manual_seed(0)
        scheduler.training_losses(
            analytic, torch.zeros(2, 4, frames, 2, 2), model_kwargs=size, generator=generator
        )
        drawn = torch.rand(2, generator=torch.Generator().manual_seed(0))
        ratio = math.sqrt(frames)
        expected = 1000 * ratio * drawn / (1 + (ratio - 1) * drawn)
        torch.testing.assert_close(analytic.timesteps[0], expected)


def test_the_transform_names_the_size_it_misses():
    with pytest.raises(ValueError, match="needs model_kwargs width"):
        timestep_transform(torch.ones(1), {"height": torch.ones(1)}, 1)


def test_noising_gives_the_recorded_latents(golden):
    noised = RectifiedFlow().add_noise(
        golden("rf/train/x0"), golden("rf/train/noise"), golden("rf/train/t")
    )
    torch.testing.assert_close(noised, golden("rf/train/add_noise"), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("variant", ["float_t", "int_t", "mask", "weights_int"])
def test_training_losses_are_the_recorded_ones(golden, analytic, variant):
    t = golden("rf/train/t_int" if "int" in variant else "rf/train/t")
    terms = RectifiedFlow().training_losses(
        analytic,
        golden("rf/train/x0"),
        t,
        {"y": golden("rf/train/y")},
        golden("rf/train/mask") if variant == "mask" else None,
        noise=golden("rf/train/noise"),
        weights=torch.linspace(0.5, 1.5, 1000) if variant == "weights_int" else None,
    )
    torch.testing.assert_close(terms["loss"], golden(f"rf/train/loss/{variant}"))


def test_clean_frames_reach_the_model_untouched_and_named(golden):
    mask = torch.tensor([[True, False, False]] * 4)
    seen = {}

    def model(x, t, x_mask=None, **_):
        seen.update(x=x, x_mask=x_mask)
        return x

    x0 = golden("rf/train/x0")
    RectifiedFlow().training_losses(model, x0, mask=mask)
    assert torch.equal(seen["x"][:, :, 1:], x0[:, :, 1:])
    assert not torch.equal(seen["x"][:, :, 0], x0[:, :, 0])
    assert torch.equal(seen["x_mask"], mask)


def test_a_sample_with_every_frame_clean_has_loss_zero(golden, analytic):
    mask = torch.zeros(4, 3, dtype=torch.bool)
    terms = RectifiedFlow().training_losses(analytic, golden("rf/train/x0"), mask=mask)
    assert terms["loss"].tolist() == [0.0] * 4


@pytest.mark.parametrize("name", ["plain", "discrete", "transform", "mask", "transform_mask"])
def test_samples_are_the_recorded_ones(golden, analytic, fixed_text, replay, name, monkeypatch):
    facts = golden.facts["tags"]["v1.2.0"]["rf_sample"]
    case = facts[name]
    size = {k: torch.tensor([v, v]) for k, v in facts["additional_args"].items()}
    if case["additional_args"] and "num_frames" in size:  # the latents are fewer than it reckons
        frames = _latent_frames(size["num_frames"][0])
        transform = rectified_flow.timestep_transform
        monkeypatch.setattr(
            rectified_flow,
            "timestep_transform",
            lambda t, sizes, _, **settings: transform(t, sizes, frames, **settings),
        )
    if f"rf/sample/{name}/noise" in golden:
        replay(rectified_flow, golden(f"rf/sample/{name}/noise"))
    scheduler = RectifiedFlow(num_sampling_steps=facts["num_sampling_steps"], **case["ctor"])
    out = scheduler.sample(
        analytic,
        fixed_text("rf/sample"),
        ["a", "b"],
        None,
        "cpu",
        size if case["additional_args"] else None,
        z=golden("rf/sample/z"),
        mask=golden("rf/sample/mask") if case["mask"] else None,
    )
    torch.testing.assert_close(out, golden(f"rf/sample/{name}/out"), atol=1e-5, rtol=1e-5)
    expected = golden(f"rf/sample/{name}/model_timesteps")
    torch.testing.assert_close(torch.stack(analytic.timesteps), expected, atol=1e-4, rtol=1e-6)


def test_kept_frames_stay_exactly_kept(golden, analytic, fixed_text):
    z = golden("rf/sample/z")
    mask = torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    out = RectifiedFlow().sample(
        analytic, fixed_text("rf/sample"), ["a", "b"], None, "cpu", z=z, mask=mask
    )
    kept = (mask == 0)[:, None, :, None, None].expand_as(z)
    assert torch.equal(out[kept], z[kept])
    assert (out[~kept] != z[~kept]).all()


def test_noise_frames_are_live_from_the_first_step_whatever_the_shift(analytic, fixed_text):
    above = 0
    for shift in torch.linspace(0.05, 3, 60).tolist():
        scheduler = RectifiedFlow(num_sampling_steps=1, cfg_scale=1.0, shift=shift)
        mask = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
        z = torch.zeros(1, 4, 4, 4, 4)
        scheduler.sample(analytic, fixed_text("rf/sample"), ["a"], None, "cpu", z=z, mask=mask)
        above += int((analytic.timesteps[-1] > 1000).item())
        assert analytic.x_masks[-1].tolist() == [[True, False, True, True]]
    assert above  # rounding does carry some first timesteps past pure noise


def test_sampling_uses_the_transform_scale_of_training(analytic, fixed_text, golden):
    size = {"height": [512.0], "width": [512.0], "num_frames": [1.0]}
    size = {k: torch.tensor(v) for k, v in size.items()}
    scheduler = RectifiedFlow(
        num_sampling_steps=2, cfg_scale=1.0, use_timestep_transform=True, transform_scale=3.0
    )
    scheduler.sample(analytic, fixed_text("rf/sample"), ["a"], (4, 1, 4, 4), "cpu", size)
    # t = 1/2 with ratio 3 is 3 * 0.5 / (1 + 2 * 0.5) = 3/4
    assert torch.cat(analytic.timesteps).tolist() == pytest.approx([1000.0, 750.0])


def test_a_constant_shift_moves_training_and_sampling_alike(analytic, fixed_text):
    scheduler = RectifiedFlow(num_sampling_steps=2, cfg_scale=1.0, shift=5.0)
    scheduler.sample(analytic, fixed_text("rf/sample"), ["a"], (4, 4, 4, 4), "cpu")
    assert torch.cat(analytic.timesteps).tolist() == pytest.approx([1000.0, 1000 * 2.5 / 3])
    analytic.timesteps.clear()
    x = torch.zeros(20_000, 1, 1, 1, 1)
    scheduler.training_losses(analytic, x, generator=torch.Generator().manual_seed(0))
    # the median of uniform t is 1/2, which moves to 5/6
    assert analytic.timesteps[0].median().item() == pytest.approx(1000 * 5 / 6, abs=15)


@pytest.mark.parametrize(("method", "deviation"), [("uniform", 288.7), ("logit-normal", 208.1)])
def test_drawn_timesteps_have_the_deviation_of_their_law(method, deviation):
    generator = torch.Generator().manual_seed(0)
    t = draw_timesteps(400_000, "cpu", num_timesteps=1000, method=method, generator=generator)
    assert t.mean().item() == pytest.approx(500, abs=5)
    assert t.std().item() == pytest.approx(deviation, abs=3)


def test_discrete_timesteps_are_whole_and_never_pure_noise():
    t = draw_timesteps(20_000, "cpu", num_timesteps=10, discrete=True)
    assert sorted(set(t.tolist())) == list(range(10))


def test_guidance_one_evaluates_the_conditional_half_alone(analytic, fixed_text, golden):
    z = golden("rf/sample/z")
    text = fixed_text("rf/sample")
    plain = RectifiedFlow(cfg_scale=1.0).sample(analytic, text, ["a", "b"], None, "cpu", z=z)
    assert {len(t) for t in analytic.timesteps} == {2}
    near = RectifiedFlow(cfg_scale=1.0 + 1e-6).sample(analytic, text, ["a", "b"], None, "cpu", z=z)
    assert {len(t) for t in analytic.timesteps} == {2, 4}
    torch.testing.assert_close(plain, near, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"shift": 2.0, "use_timestep_transform": True}, "exclude each other"),
        ({"shift": 0.0}, "shift is 0.0"),
        ({"num_sampling_steps": 0}, "num_sampling_steps is 0"),
        ({"sample_method": "normal"}, "sample_method is 'normal'"),
        ({"sample_method": "logit-normal", "use_discrete_timesteps": True}, "drop one"),
    ],
)
def test_fields_that_can_not_work_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        RectifiedFlow(**fields)
