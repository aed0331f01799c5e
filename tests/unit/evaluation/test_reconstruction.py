from dataclasses import replace

import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKLWan

from opensora.evaluation import reconstruction
from opensora.evaluation.metric import EvaluationInputs, read_samples
from opensora.evaluation.real_clips import choose_clips, fitted, read_clip, view_of
from opensora.evaluation.reconstruction import Reconstruction, match_truth
from opensora.media.frames import psnr, to_uint8
from opensora.models.vae import WanVAE
from tests.tiny_open import tiny_wan_vae


class GreyVae:
    """Loses the colour and keeps everything else, so that only one attribute suffers."""

    patch_size = (1, 4, 4)

    def identity(self):
        return {"type": "grey"}

    def encode(self, x, *, generator=None, posterior="sample"):
        assert posterior == "mean"
        assert x.min() >= -1
        assert x.max() <= 1
        return x

    def decode(self, z):
        return z.mean(dim=1, keepdim=True).expand_as(z)


class PerfectVae(GreyVae):
    def decode(self, z):
        return z


def inputs_of(world, **changes):
    parts = {"truth": world / "world" / "truth", "manifest": world / "manifest.csv", "vae": "vae"}
    samples = read_samples(world / "samples" / "samples.csv")
    return EvaluationInputs(samples=samples, **{**parts, **changes})


def test_reconstructions_without_colour_lose_exactly_the_colour(world, monkeypatch):
    monkeypatch.setattr(reconstruction, "load_autoencoder", lambda *_, **__: GreyVae())
    result = Reconstruction().compute(inputs_of(world))
    assert result["skipped"] == {}
    assert result["splits"]["validation"]["num_clips"] == 2
    train = result["splits"]["train"]
    assert train["real"]["colour"]["accuracy"] == 1.0
    assert train["real"]["direction"]["accuracy"] == 1.0
    assert train["reconstructed"]["colour"]["correct"] == 0
    assert 5 < train["psnr"]["mean"] < 40


def test_a_perfect_vae_is_as_good_as_the_real_clips(world, monkeypatch):
    monkeypatch.setattr(reconstruction, "load_autoencoder", lambda *_, **__: PerfectVae())
    train = Reconstruction().compute(inputs_of(world))["splits"]["train"]
    assert train["real"] == train["reconstructed"]
    assert train["psnr"] == {"mean": None, "min": None, "max": None, "n": 0}  # infinite


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    """The folder of a small autoencoder along time, whose latents are scaled channel by channel."""
    torch.manual_seed(0)
    tiny_wan_vae().save_pretrained(folder := tmp_path_factory.mktemp("wan"))
    return folder


def test_the_autoencoder_of_the_run_is_the_one_that_is_measured(world, wan):
    inputs = inputs_of(world, vae=str(wan), truth=None)
    inputs = replace(inputs, samples=inputs.samples.assign(height=32, width=32))
    result = Reconstruction().compute(inputs)
    assert result["model"] == WanVAE(str(wan)).identity()
    assert (view_of(inputs.samples).num_frames, result["size"][0]) == (16, 13)  # whole latent ones
    view = replace(view_of(inputs.samples), num_frames=13)
    clips = choose_clips(inputs.manifest, view, 8).to_dict("records")
    assert [clip["id"] for clip in clips] == list(result["samples"])
    network = AutoencoderKLWan.from_pretrained(wan).eval()
    for clip in clips[:2]:
        pixels = read_clip(clip, fitted(view, clip["aspect_ratio"], (8, 8)))
        with torch.no_grad():
            decoded = network.decode(network.encode(pixels[None]).latent_dist.mode()).sample[0]
        pair = (torch.from_numpy(to_uint8(x))[None] for x in (pixels, decoded))
        assert result["samples"][clip["id"]] == pytest.approx(float(psnr(*pair)), abs=1e-2)


def test_without_truth_only_the_detector_is_skipped(world, monkeypatch):
    monkeypatch.setattr(reconstruction, "load_autoencoder", lambda *_, **__: GreyVae())
    result = Reconstruction().compute(inputs_of(world, truth=None))
    assert "--truth" in result["skipped"]["detector"]
    assert "real" not in result["splits"]["train"]
    assert result["splits"]["train"]["psnr"]["n"] == 6


def test_what_is_missing_is_said(world):
    metric = Reconstruction()
    assert metric.missing(inputs_of(world)) is None
    assert "--manifest" in metric.missing(inputs_of(world, manifest=None))
    assert "--vae" in metric.missing(inputs_of(world, vae=None))
    inputs = inputs_of(world)
    longer = EvaluationInputs(
        samples=inputs.samples.assign(num_frames=500), manifest=inputs.manifest, vae="vae"
    )
    assert "has 500 frames" in metric.missing(longer)


def test_clips_get_the_truth_of_the_scene_that_covers_them():
    scene = {"path": "/w/a.mp4", "shape": "circle", "direction": "left"}
    truth = pd.DataFrame(
        [
            {**scene, "start": 0.0, "end": 2.0, "colour": "red"},
            {**scene, "start": 2.0, "end": 4.0, "colour": "blue"},
        ]
    )
    spans = [(0.0, 2.0), (1.5, 3.5), (3.5, 6.5), (2.0, 4.0)]
    clips = pd.DataFrame(spans, columns=["start", "end"])
    clips["source"] = ["/w/a.mp4", "/w/../w/a.mp4", "/w/a.mp4", "/w/b.mp4"]
    found = [match and match["colour"] for match in match_truth(clips, truth)]
    # the third lies in the second scene for 0.5 of its 3 seconds; the last is another file
    assert found == ["red", "blue", None, None]
