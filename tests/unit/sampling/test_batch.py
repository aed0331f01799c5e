"""Batches: given frames, joined clips, independence of neighbours; tiny real parts."""

import numpy as np
import pytest
import torch

from opensora.core.errors import ConfigError
from opensora.media.frames import to_uint8
from opensora.sampling.batch import sample_batch, sample_conditions, sample_latents
from opensora.sampling.conditioning import MaskRule
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.places import whole_batches
from opensora.sampling.prompts import Prompt, requests
from opensora.sampling.references import Reference
from opensora.sampling.settings import SamplingSettings
from opensora.schedulers.common import draw_noise
from tests.tiny_open import tiny_wan_vae

TEXTS = ["a red circle", "a blue square moves up"]


def settings_of(config, **changes):
    return SamplingSettings.from_config({**config, **changes})


def plain(*texts):
    return [Prompt(text) for text in texts]


def given(text, name, *rules):
    """A prompt with one reference, whose latents go by `name`."""
    return Prompt(text, (Reference(f"{name}.png", f"{name}.png", name),), rules)


def generators_of(batch, settings):
    return [torch.Generator().manual_seed(r.noise_seed(settings.seed)) for r in batch]


def latents_of(pipeline, batch, settings, references, *, loop=0, ends=None):
    chosen = [[references[r.sha256] for r in item.prompt.references] for item in batch]
    noise = generators_of(batch, settings)
    return sample_latents(pipeline, batch, settings, loop, chosen, ends, noise)


@pytest.fixture
def pipeline(config):
    return load_pipeline(config, settings_of(config), "cpu")


@pytest.fixture
def references():
    """Latents of a clip of five frames and of an image."""
    rng = torch.Generator().manual_seed(3)
    return {
        "clip": torch.randn(4, 5, 8, 6, generator=rng),
        "image": torch.randn(4, 1, 8, 6, generator=rng),
    }


@pytest.fixture(params=["rflow", "iddpm", "ddim", "stdit"])
def masked(request, config, other_config):
    """A config whose model and scheduler keep frames."""
    if request.param == "rflow":
        return config
    if request.param == "stdit":
        return other_config("stdit")
    scheduler = {"type": "iddpm", "num_sampling_steps": 3, "cfg_scale": 2.0, "learn_sigma": False}
    if request.param == "ddim":
        scheduler["sample_method"] = "ddim"
    return {**config, "scheduler": scheduler}


def test_a_sample_depends_neither_on_batch_size_nor_on_order(pipeline, config):
    settings = settings_of(config, num_samples=2)
    wanted = requests(plain(*TEXTS), 2)
    together = sample_batch(pipeline, wanted, settings)
    backwards = sample_batch(pipeline, wanted[::-1], settings)[::-1]
    for request, frames, other in zip(wanted, together, backwards, strict=True):
        alone = sample_batch(pipeline, [request], settings)[0]
        # sums in another order may round a level up or down
        assert np.abs(alone.astype(int) - frames).max() <= 1
        assert np.abs(other.astype(int) - frames).max() <= 1
    assert frames.shape == (3, 16, 12, 3)
    assert len({frames.tobytes() for frames in together}) == 4


@pytest.mark.parametrize("size", [1, 3])
def test_neighbours_with_given_frames_change_no_sample(masked, references, size):
    settings = settings_of(masked, batch_size=size, loop=2, condition_frame_length=1)
    pipeline = load_pipeline(masked, settings, "cpu")
    kept = given("kept", "clip", MaskRule(0), MaskRule(1, 0, 2, 2))
    wanted = requests([Prompt("a"), kept, Prompt("b"), given("c", "image", MaskRule(0))], 1)
    made = {}
    for batch in whole_batches(wanted, settings):
        assert len(batch.rows) <= size
        frames = sample_batch(pipeline, batch.rows, settings, references)
        made |= dict(zip((request.id for request in batch.rows), frames, strict=True))
    for request in wanted:
        alone = sample_batch(pipeline, [request], settings, references)[0]
        assert np.abs(alone.astype(int) - made[request.id]).max() <= 1


def test_another_seed_gives_another_sample_and_the_same_seed_the_same(pipeline, config):
    one = requests(plain("a red circle"), 1)
    first = sample_batch(pipeline, one, settings_of(config))[0]
    again = sample_batch(pipeline, one, settings_of(config))[0]
    other = sample_batch(pipeline, one, settings_of(config, seed=43))[0]
    assert (first == again).all()
    assert (first != other).any()


def test_the_model_is_told_size_and_time(pipeline, config):
    conditions = sample_conditions(pipeline, settings_of(config), 2)
    assert conditions["ar"].tolist() == pytest.approx([16 / 12] * 2)
    assert conditions["height"].tolist() == [16, 16]
    assert conditions["width"].tolist() == [12, 12]
    assert conditions["num_frames"].tolist() == [3, 3]
    assert conditions["fps"].tolist() == [8, 8]
    assert all(value.dtype == torch.float32 for value in conditions.values())


def test_the_model_is_told_the_rate_of_the_frames_in_use(pipeline, config):
    asked = watch(pipeline)
    sample_batch(pipeline, requests(plain("a"), 1), settings_of(config, fps=24, frame_interval=3))
    assert asked[0]["fps"].tolist() == [8]


def test_kept_frames_are_exactly_those_of_the_reference(masked, references):
    settings = settings_of(masked, num_frames=4)
    pipeline = load_pipeline(masked, settings, "cpu")
    prompts = [
        given("a", "clip", MaskRule(0, 0, -2, 0, 2)),
        given("b", "image", MaskRule(0, 0, 0, -1), MaskRule(0, 0, 0, 1)),
    ]
    batch = requests(prompts, 1)
    latents = latents_of(pipeline, batch, settings, references)
    assert torch.equal(latents[0, :, :2], references["clip"][:, -2:])
    assert torch.equal(latents[1, :, 1], references["image"][:, 0])
    assert torch.equal(latents[1, :, 3], references["image"][:, 0])
    assert (latents[0, :, 2:] - references["clip"][:, :2]).abs().max() > 0.1
    free = latents_of(pipeline, requests(plain("a"), 1), settings, references)
    if masked["scheduler"]["type"] == "rflow":  # same noise: what is given changes the rest
        assert (latents[0, :, 2:] - free[0, :, 2:]).abs().max() > 1e-3


def test_edited_frames_start_from_their_reference(pipeline, config, references):
    """The model is replaced by one that moves nothing: what comes out is what it started from."""
    settings = settings_of(config, num_frames=4)
    pipeline.scheduler.sample = lambda *_, z, **__: z
    rules = MaskRule(0, 0, 1, 0, 1, 0.5), MaskRule(0, 0, 2, 2, 1, 1.0)
    batch = requests([given("a", "clip", *rules)], 1)
    started = latents_of(pipeline, batch, settings, references)
    noise = draw_noise(torch.empty(1, 4, 4, 8, 6), generators_of(batch, settings))
    assert torch.equal(started[0, :, 0], references["clip"][:, 1])
    for frame in (1, 2, 3):  # an edit ratio of 1 keeps nothing
        assert torch.equal(started[0, :, frame], noise[0, :, frame])


def test_a_small_edit_ratio_stays_nearer_to_the_reference_than_a_large_one(config, references):
    """With a velocity of zero, rectified flow keeps the noise level a frame joins at."""
    fields = {**config, "scheduler": {"type": "rflow", "num_sampling_steps": 10, "shift": 1.0}}
    settings = settings_of(fields, num_frames=5)
    pipeline = load_pipeline(fields, settings, "cpu")
    for parameter in pipeline.model.final_layer.parameters():
        torch.nn.init.zeros_(parameter)
    distances = []
    for ratio in (0.0, 0.3, 0.9):
        batch = requests([given("a", "clip", MaskRule(0, 0, 0, 0, 5, ratio))], 1)
        latents = latents_of(pipeline, batch, settings, references)
        distances.append(float((latents[0] - references["clip"]).square().mean().sqrt()))
    assert distances[0] == 0
    assert 0.2 < distances[1] < distances[2]


def watch(pipeline):
    """What the scheduler is given from now on: the keywords and size conditions of each call."""
    asked, sample = [], pipeline.scheduler.sample

    def watched(*words, **options):
        asked.append({**options, **words[5]})
        return sample(*words, **options)

    pipeline.scheduler.sample = watched
    return asked


def test_further_clips_begin_with_the_end_of_the_one_before(masked):
    settings = settings_of(masked, num_frames=4, loop=3, condition_frame_length=2)
    pipeline = load_pipeline(masked, settings, "cpu")
    batch = requests(plain(*TEXTS), 1)
    asked = watch(pipeline)
    frames = sample_batch(pipeline, batch, settings)
    assert all(len(clip) == settings.total_frames == 4 + 2 + 2 for clip in frames)
    assert asked[0]["mask"] is None
    # the same by hand: clip, its last frames encoded, next clip from them
    generators = generators_of(batch, settings)
    clips, ends = [], None
    for loop in range(3):
        nothing = [[], []]
        latents = sample_latents(pipeline, batch, settings, loop, nothing, ends, generators)
        if loop:
            assert torch.equal(latents[:, :, :2], ends)
            assert (asked[loop]["z"][:, :, :2] - ends).abs().max() < 1e-5
            assert asked[loop]["mask"].tolist() == [[0, 0, 1, 1]] * 2
        videos = pipeline.vae.decode(latents)
        clips.append(videos)
        ends = pipeline.vae.encode(videos, posterior="mean")[:, :, -2:]
    joined = torch.cat([clips[0], clips[1][:, :, 2:], clips[2][:, :, 2:]], dim=2)
    for made, expected in zip(frames, joined, strict=True):
        assert np.abs(made.astype(int) - to_uint8(expected)).max() <= 1


def test_clips_that_share_no_frame_are_made_apart_and_put_in_a_row(pipeline, config):
    settings = settings_of(config, loop=2, condition_frame_length=0)
    batch = requests(plain("a"), 1)
    frames = sample_batch(pipeline, batch, settings)[0]
    assert len(frames) == 6
    alone = sample_batch(pipeline, batch, settings_of(config))[0]
    assert (frames[:3] == alone).all()
    assert (frames[3:] != alone).any()  # other noise


def test_prompts_that_change_by_loop_reach_their_loop(pipeline, config):
    heard, encoded = [], []
    encode, sample = pipeline.text_encoder.encode, pipeline.scheduler.sample
    pipeline.text_encoder.encode = lambda texts: encoded.append(texts) or encode(texts)
    pipeline.scheduler.sample = lambda *words, **more: (
        heard.append(words[2]) or sample(*words, **more)
    )
    settings = settings_of(config, loop=3, condition_frame_length=1)
    sample_batch(pipeline, requests(plain("|0|A cat|2|a dog", "a bird"), 1), settings)
    assert heard == [["a cat", "a bird"], ["a cat", "a bird"], ["a dog", "a bird"]]
    assert encoded == [["a cat"], ["a bird"], ["a dog"]]  # alone, and once


def test_references_count_before_the_end_of_the_last_clip(pipeline, config, references):
    """Rules of the user come first; the end of the last clip covers them where both say a frame."""
    settings = settings_of(config, num_frames=4, loop=2, condition_frame_length=1)
    batch = requests([given("a", "clip", MaskRule(1, 0, 0, 0, 2))], 1)
    ends = torch.randn(1, 4, 1, 8, 6)
    latents = latents_of(pipeline, batch, settings, references, loop=1, ends=ends)
    assert torch.equal(latents[0, :, 0], ends[0, :, 0])
    assert torch.equal(latents[0, :, 1], references["clip"][:, 1])


def test_the_class_decides_the_image(other_config):
    config = other_config("dit")
    settings = settings_of(config)
    pipeline = load_pipeline(config, settings, "cpu")
    one = requests(plain("3"), 1)
    image = sample_batch(pipeline, one, settings)[0]
    assert image.shape == (1, 16, 12, 3)
    pipeline.text_encoder.encode = lambda _: {"y": torch.tensor([3])}
    assert (sample_batch(pipeline, one, settings)[0] == image).all()
    pipeline.text_encoder.encode = lambda _: {"y": torch.tensor([7])}  # the noise stays the same
    assert (sample_batch(pipeline, one, settings)[0] != image).any()


@pytest.mark.parametrize("name", ["latte", "pixart"])
@pytest.mark.parametrize("scheduler", ["iddpm", "dpm-solver"])
def test_the_models_of_the_reference_sample_with_their_schedulers(other_config, name, scheduler):
    fields = {"type": scheduler, "num_sampling_steps": 2, "cfg_scale": 2.0}
    config = other_config(name, scheduler=fields)
    settings = settings_of(config)
    frames = sample_batch(
        load_pipeline(config, settings, "cpu"), requests(plain("1", "2"), 1), settings
    )
    assert [clip.shape for clip in frames] == [(config["num_frames"], 16, 12, 3)] * 2
    assert (frames[0] != frames[1]).any()


@pytest.mark.parametrize("kind", ["iddpm", "dpm-solver"])
def test_models_without_a_variance_sample_with_the_other_schedulers(config, kind):
    fields = {"type": kind, "num_sampling_steps": 2, "cfg_scale": 2.0}
    if kind == "iddpm":
        fields["learn_sigma"] = False
    pipeline = load_pipeline({**config, "scheduler": fields}, settings_of(config), "cpu")
    frames = sample_batch(pipeline, requests(plain("a"), 1), settings_of(config))
    assert frames[0].shape == (3, 16, 12, 3)


def test_autoencoders_along_time_share_whole_latent_frames(config, trained, tmp_path):
    """Nine frames are three latent frames of stride 4; five shared frames are two of them."""
    torch.manual_seed(0)
    tiny_wan_vae().save_pretrained(tmp_path / "wan")
    fields = {
        **config,
        "vae": {"type": "WanVAE", "from_pretrained": str(tmp_path / "wan")},
        **{"num_frames": 9, "loop": 2, "condition_frame_length": 5, "image_size": [16, 32]},
    }
    settings = settings_of(fields)
    pipeline = load_pipeline(fields, settings, "cpu")
    asked = watch(pipeline)
    frames = sample_batch(pipeline, requests(plain("a"), 1), settings)[0]
    assert frames.shape == (settings.total_frames, 16, 32, 3) == (13, 16, 32, 3)
    assert asked[0]["mask"] is None
    assert asked[1]["mask"].tolist() == [[0, 0, 1]]
    with pytest.raises(ConfigError, match="is 4, which WanVAE does not take as a video; use 1"):
        load_pipeline(fields, settings_of(fields, condition_frame_length=4), "cpu")


def test_half_precision_gives_nearly_the_same_frames(pipeline, config):
    half = load_pipeline({**config, "dtype": "bf16"}, settings_of(config, dtype="bf16"), "cpu")
    wanted = requests(plain("a"), 1)
    exact, rough = (sample_batch(p, wanted, settings_of(config))[0] for p in (pipeline, half))
    assert np.abs(exact.astype(int) - rough).mean() < 4
