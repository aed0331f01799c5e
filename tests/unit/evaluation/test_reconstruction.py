import numpy as np
import pandas as pd
import pytest
import torch

from opensora.core.errors import VideoError
from opensora.evaluation import reconstruction
from opensora.evaluation.metric import EvaluationInputs, read_samples
from opensora.evaluation.reconstruction import Reconstruction, match_truth


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
    monkeypatch.setattr(reconstruction, "load_autoencoder", lambda name, device, dtype: GreyVae())
    result = Reconstruction().compute(inputs_of(world))
    assert result["skipped"] == {}
    assert result["splits"]["validation"]["num_clips"] == 2
    train = result["splits"]["train"]
    assert train["real"]["colour"]["accuracy"] == 1.0
    assert train["real"]["direction"]["accuracy"] == 1.0
    assert train["reconstructed"]["colour"]["correct"] == 0
    assert 5 < train["psnr"]["mean"] < 40


def test_a_perfect_vae_is_as_good_as_the_real_clips(world, monkeypatch):
    monkeypatch.setattr(
        reconstruction, "load_autoencoder", lambda name, device, dtype: PerfectVae()
    )
    train = Reconstruction().compute(inputs_of(world))["splits"]["train"]
    assert train["real"] == train["reconstructed"]
    assert train["psnr"] == {"mean": None, "min": None, "max": None, "n": 0}  # infinite


def test_without_truth_only_the_detector_is_skipped(world, monkeypatch):
    monkeypatch.setattr(reconstruction, "load_autoencoder", lambda name, device, dtype: GreyVae())
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


def test_clips_are_seen_at_the_rate_of_the_samples(tmp_path):
    from opensora.media.encode import write_video

    levels = np.arange(0, 240, 30, dtype=np.uint8)  # 8 frames at 24 fps
    write_video(
        tmp_path / "a.mp4", np.broadcast_to(levels[:, None, None, None], (8, 32, 32, 3)), 24
    )
    interval = int(reconstruction._intervals(pd.Series([24.0]), 8.0).iloc[0])
    view = reconstruction._View(num_frames=3, height=16, width=16, fps=8.0)
    row = {"path": str(tmp_path / "a.mp4"), "sha256": "", "_interval": interval}
    pixels = reconstruction._read(row, view)
    assert pixels.shape == (1, 3, 3, 16, 16)
    seen = (pixels.mean(dim=(0, 1, 3, 4)) + 1) * 127.5  # frames 0, 3 and 6
    assert torch.allclose(seen, torch.tensor([0.0, 90.0, 180.0]), atol=3)
    with pytest.raises(VideoError, match=r"a\.mp4 changed since ingest"):
        reconstruction._read({**row, "sha256": "0" * 64}, view)


@pytest.mark.parametrize(
    ("fps", "expected"), [(8.0, 1), (10.0, 1), (24.0, 3), (29.97, 4), (1.0, 1)]
)
def test_interval_is_the_nearest_whole_ratio(fps, expected):
    assert reconstruction._intervals(pd.Series([fps]), 8.0).tolist() == [expected]


@pytest.mark.parametrize(
    ("aspect_ratio", "expected"), [(1.0, (32, 32)), (0.6, (24, 40)), (1.67, (40, 24))]
)
def test_a_clip_keeps_its_aspect_ratio_at_the_pixels_of_the_samples(aspect_ratio, expected):
    view = reconstruction._View(num_frames=16, height=32, width=32, fps=8.0)
    fitted = reconstruction._fitted(view, {"aspect_ratio": aspect_ratio}, GreyVae())
    assert (fitted.height, fitted.width) == expected
