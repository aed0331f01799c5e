import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.precompute.encode_videos import VideoEncoding, encode_videos
from opensora.precompute.latent_doctor import judge_latents, latent_statistics, write_montage
from opensora.stores.latents import LatentStore, write_latent_index, write_latents

from .patch_autoencoder import PatchAutoencoder

GOOD = {"bad_values": 0, "overall_std": 1.0, "mean": [0.1, -0.2], "std": [0.9, 1.1]}


@pytest.mark.parametrize(
    ("facts", "failure", "warning"),
    [
        ({}, None, None),
        ({"bad_values": 3, "mean": [None]}, "holds 3 NaN or infinite values", None),
        ({"overall_std": 0.0005}, r"is flat \(deviation 0.0005\)", None),
        ({"mean": [0.0, -5.1]}, "has mean -5.1 in channel 1, beyond 5", None),
        ({"std": [5.5, 1.0]}, "has std 5.5 in channel 0, beyond 5", None),
        ({"mean": [5.0, 0.0]}, None, None),
        ({"std": [1.0, 0.0]}, None, r"is flat in channel 1 \(1 of 2 channels\)"),
    ],
)
def test_numbers_are_compared_with_their_limits(facts, failure, warning):
    for expected, found in zip((failure, warning), judge_latents(GOOD | facts), strict=True):
        if expected is None:
            assert found is None
        else:
            assert pd.Series([found]).str.fullmatch(expected).all(), found


def test_statistics_of_moments_are_those_of_the_means(tmp_path):
    bucket, identity = Bucket("32px", 2, "0.60"), {"posterior": "moments"}
    torch.manual_seed(0)
    rows = [torch.cat([torch.randn(3, 2, 3, 5), torch.rand(3, 2, 3, 5)]) for _ in range(4)]
    items = pd.DataFrame({"id": list("abcd"), "fps": 8.0, "sha256": "s"})
    write_latents(tmp_path / "x.safetensors", rows, items, bucket, identity)
    write_latent_index(tmp_path, ["x.safetensors"], identity)
    store = LatentStore(tmp_path)
    facts = latent_statistics(store, store.rows)
    values = torch.stack(rows).transpose(0, 1).flatten(1)  # [6, ...]
    np.testing.assert_allclose(facts["mean"], values[:3].mean(1), atol=1e-5)
    np.testing.assert_allclose(facts["std"], values[:3].std(1, correction=0), atol=1e-5)
    np.testing.assert_allclose(facts["posterior_std"], values[3:].mean(1), atol=1e-5)
    assert facts["bad_values"] == 0


def test_a_negative_deviation_is_a_bad_value(world, tmp_path):
    encoding = VideoEncoding(dtype="fp32", posterior="moments")
    with pytest.raises(StoreError, match=r"24px\|1\|1.00 holds 3456 NaN"):
        # two images of 48 x 6 x 6 values, each with deviation -0.1
        encode_videos(world.manifest, world.plan, PatchAutoencoder(-0.1), tmp_path / "o", encoding)


def test_the_montage_shows_originals_above_what_was_decoded(tmp_path):
    shape = (3, 5, 10, 20)
    original = torch.full(shape, -1.0)
    original[:, 2] = 1.0  # the middle frame is white
    write_montage(tmp_path / "m.png", [(original, torch.zeros(shape)), (original, original)])
    with Image.open(tmp_path / "m.png") as image:
        pixels = np.asarray(image).astype(int)
    # two clips of three frames, 20 + 4 wide; two rows of 10 + 4
    assert pixels.shape == (28, 6 * 24, 3)
    top = [int(pixels[4, 10 + 24 * k, 0]) for k in range(6)]
    bottom = [int(pixels[18, 10 + 24 * k, 0]) for k in range(6)]
    assert top == [0, 255, 0, 0, 255, 0]
    assert bottom == [128, 128, 128, 0, 255, 0]
    assert (pixels[:, 20:24] == 255).all()  # the gap


def test_large_frames_are_made_smaller_and_single_frames_shown_once(tmp_path):
    clip = torch.zeros(3, 1, 640, 320)
    write_montage(tmp_path / "m.png", [(clip, clip)])
    with Image.open(tmp_path / "m.png") as image:
        assert image.size == (80 + 4, 2 * (160 + 4))


def test_each_bucket_gets_a_picture_and_old_ones_go(world, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "doctor_99px_1_1.00.png").write_bytes(b"of an older plan")
    encoding = VideoEncoding(dtype="fp32", posterior="mean")
    encode_videos(world.manifest, world.plan, PatchAutoencoder(), out, encoding)
    report = json.loads((out / "doctor.json").read_text())
    names = [facts["montage"] for facts in report["buckets"].values()]
    assert sorted(names) == ["doctor_24px_1_1.00.png", "doctor_24px_4_1.00.png"]
    assert sorted(path.name for path in out.glob("*.png")) == sorted(names)
    with Image.open(out / "doctor_24px_4_1.00.png") as image:
        top, bottom = np.split(np.asarray(image).astype(int), 2)
    assert abs(top - bottom).max() <= 1  # nothing is lost by this autoencoder
    assert top.shape == (28, 4 * 3 * 28, 3)  # four clips, three frames of 24 pixels


def test_a_bad_bucket_stops_before_the_next_one_is_encoded(world, tmp_path):
    class Unscaled(PatchAutoencoder):
        def encode(self, x, *, generator, posterior):
            return super().encode(x, generator=generator, posterior=posterior) * 40

        def decode(self, z):
            return super().decode(z / 40)

    vae = Unscaled()
    encoding = VideoEncoding(dtype="fp32", posterior="mean")
    with pytest.raises(
        StoreError, match=r"24px\|1\|1.00 has (mean|std) .* beyond 5; check the VAE"
    ):
        encode_videos(world.manifest, world.plan, vae, tmp_path / "out", encoding)
    assert vae.calls == [16]  # one batch of images, no video
