import numpy as np
import pytest
import torch
from PIL import Image

from opensora.core.errors import StoreError, VideoError
from opensora.precompute.gates import latent_numbers
from opensora.precompute.latent_doctor import latent_facts, round_trip, write_montage
from opensora.precompute.video_encoding import VideoEncoding
from opensora.stores.index import read_index

from .encoding import data_files, encode
from .patch_autoencoder import PatchAutoencoder


def test_statistics_of_moments_are_those_of_the_means():
    torch.manual_seed(0)
    rows = [torch.cat([torch.randn(3, 2, 3, 5), torch.rand(3, 2, 3, 5)]) for _ in range(4)]
    facts = latent_numbers(latent_facts(rows, are_moments=True))
    values = torch.stack(rows).transpose(0, 1).flatten(1)  # [6, ...]
    np.testing.assert_allclose(facts["mean"], values[:3].mean(1), atol=1e-5)
    np.testing.assert_allclose(facts["std"], values[:3].std(1, correction=0), atol=1e-5)
    np.testing.assert_allclose(facts["posterior_std"], values[3:].mean(1), atol=1e-5)
    assert facts["bad_values"] == 0


def test_a_negative_deviation_is_a_bad_value(world, tmp_path):
    encoding = VideoEncoding(dtype="fp32", posterior="moments")
    with pytest.raises(StoreError, match=r"24px\|1\|1.00 holds 3456 NaN"):
        # two images of 48 x 6 x 6 values, each with deviation -0.1
        encode(world, tmp_path, PatchAutoencoder(-0.1), encoding)


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


def test_each_file_gets_a_picture_that_the_index_names(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder())
    gate = read_index(tmp_path / "run/latents/0000.parquet")[1]["gate"]
    pictures = {
        bucket: tmp_path / "run/latents" / facts["montage"]
        for bucket, facts in gate["buckets"].items()
    }
    assert sorted(path.resolve() for path in pictures.values()) == [
        path.with_suffix(".png") for path in data_files(tmp_path)
    ]
    with Image.open(pictures["24px|4|1.00"]) as image:
        top, bottom = np.split(np.asarray(image).astype(int), 2)
    assert abs(top - bottom).max() <= 1  # nothing is lost by this autoencoder
    assert top.shape == (28, 4 * 3 * 28, 3)  # four clips, three frames of 24 pixels


def test_a_clip_that_is_gone_is_not_decoded(caplog):
    def read():
        raise VideoError("corrupt", "gone.mp4")

    options = {"are_moments": False, "device": "cpu", "dtype": torch.float32}
    assert round_trip(torch.zeros(48, 1, 6, 6), read, PatchAutoencoder(), **options) is None
    assert "gone.mp4" in caplog.text


def test_a_bad_bucket_stops_before_the_next_one_is_encoded(world, tmp_path):
    class Unscaled(PatchAutoencoder):
        def encode(self, x, *, generator, posterior):
            return super().encode(x, generator=generator, posterior=posterior) * 40

        def decode(self, z):
            return super().decode(z / 40)

    vae = Unscaled()
    with pytest.raises(
        StoreError, match=r"24px\|1\|1.00 has (mean|std) .* beyond 5; check the VAE"
    ):
        encode(world, tmp_path, vae)
    assert vae.calls == [16]  # one batch of images, no video
