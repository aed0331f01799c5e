import copy
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL

from opensora.core.errors import ConfigError, TableError
from opensora.core.io import sha256_file
from opensora.curation.manifest.groups import assign_splits
from opensora.encoders.train_vae import (
    VaeConfig,
    build_vae,
    load_frames,
    measure_psnr,
    nearest_sizes,
    train_vae,
    whiten,
)
from opensora.models.vae import VideoAutoencoderKL
from opensora.tables.io import read_table, write_table

TINY = VaeConfig(
    sizes=[(32, 32), (24, 40)],
    block_out_channels=(8, 8, 8),
    frames_per_clip=2,
    num_steps=24,
    batch_size=4,
    log_every=8,
)
FRACTION = 0.3  # of the videos, each with one clip


def clips_of(world, side: str) -> pd.DataFrame:
    """The clips that build-manifest would put on a side."""
    rows = read_table(world.clips)
    fractions = {"validation_fraction": FRACTION, "test_fraction": 0.0}
    return rows[assign_splits(rows["video_id"], np.arange(len(rows)), **fractions) == side]


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vae") / "vae"
    train_vae(TINY, [world.clips], folder, validation_fraction=FRACTION)
    return folder


def test_the_loss_falls(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [8, 16, 24]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]


def test_diffusers_loads_the_folder(trained: Path) -> None:
    vae = AutoencoderKL.from_pretrained(trained)
    assert vae.config.scaling_factor == 1.0
    assert vae.encode(torch.zeros(1, 3, 32, 32)).latent_dist.mean.shape == (1, 4, 8, 8)


def test_training_latents_have_unit_variance_in_each_channel(world, trained: Path) -> None:
    vae = VideoAutoencoderKL(str(trained))
    pools = load_frames(clips_of(world, "train"), TINY)
    z = [
        vae.encode(pool[:, :, None].float() / 127.5 - 1, posterior="mean")
        .transpose(0, 1)
        .flatten(1)
        for pool in pools.values()
    ]
    std, mean = torch.std_mean(torch.cat(z, dim=1), dim=1)
    torch.testing.assert_close(std, torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-3, rtol=0)


def test_whitening_changes_neither_reconstructions_nor_relative_noise() -> None:
    torch.manual_seed(0)
    vae = build_vae(TINY).eval()
    frames = {(32, 32): torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)}
    images = frames[(32, 32)] / 127.5 - 1
    white = copy.deepcopy(vae)
    whiten(white, frames)
    with torch.no_grad():
        before, after = (v.encode(images).latent_dist for v in (vae, white))
        noise = torch.randn(before.mean.shape)
        old = vae.decode(before.mean + before.std * noise).sample
        new = white.decode(after.mean + after.std * noise).sample
    assert abs(float(before.mean.std()) - 1) > 0.01  # there was something to change
    torch.testing.assert_close(new, old, atol=1e-4, rtol=1e-4)


def test_validation_clips_are_measured_and_nothing_else(world, trained: Path) -> None:
    report = json.loads((trained / "psnr.json").read_text())
    assert report["trained_on"]["clips"] == len(clips_of(world, "train"))
    assert report["split"] == "validation"
    held_out = clips_of(world, "validation")
    assert 2 <= len(held_out) < 10
    assert sum(part["num_frames"] for part in report["sizes"].values()) == sum(
        min(TINY.frames_per_clip, num_frames) for num_frames in held_out["num_frames"]
    )
    assert report["min"] == min(part["min"] for part in report["sizes"].values())


def test_psnr_is_that_of_the_formula() -> None:
    class Halving:
        """Decodes every image to half of its values."""

        def encode(self, images):
            return type("E", (), {"latent_dist": type("P", (), {"mean": images})})

        def decode(self, z):
            return type("D", (), {"sample": z / 2})

    frames = {(4, 4): torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)}
    # 1.0 becomes 0.5: an error of 0.5 in a range of 2, so 20 log10(2 / 0.5)
    expected = 20 * math.log10(4)
    assert measure_psnr(Halving(), frames)["mean"] == pytest.approx(expected, abs=1e-3)


def test_equal_seeds_give_equal_bytes(world, trained: Path, tmp_path: Path) -> None:
    train_vae(TINY, [world.clips], tmp_path / "again", validation_fraction=FRACTION)
    name = "diffusion_pytorch_model.safetensors"
    assert sha256_file(tmp_path / "again" / name) == sha256_file(trained / name)
    assert (tmp_path / "again/metrics.jsonl").read_text() == (trained / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("aspect_ratio", "expected"),
    [(1.0, [(32, 32), (24, 24)]), (0.56, [(24, 40)]), (2.0, [(40, 24)])],
)
def test_a_clip_goes_to_all_sizes_of_the_nearest_shape(aspect_ratio, expected) -> None:
    sizes = [(32, 32), (24, 40), (40, 24), (24, 24)]
    assert nearest_sizes(aspect_ratio, sizes) == expected


def test_tables_without_a_good_clip_are_one_clear_error(world, tmp_path: Path) -> None:
    frame = read_table(world.clips)
    write_table(frame.assign(status="corrupt"), tmp_path / "c.csv")
    with pytest.raises(TableError, match="no readable clip of split 'train'"):
        train_vae(TINY, [tmp_path / "c.csv"], tmp_path / "vae")
    assert not (tmp_path / "vae").exists()


def test_without_validation_clips_the_report_says_what_was_measured(world, tmp_path: Path) -> None:
    write_table(read_table(world.clips)[:2], tmp_path / "c.csv")
    config = VaeConfig(sizes=[(32, 32)], block_out_channels=(8, 8, 8), num_steps=1, batch_size=2)
    train_vae(config, [tmp_path / "c.csv"], tmp_path / "vae", validation_fraction=0)
    assert json.loads((tmp_path / "vae/psnr.json").read_text())["split"] == "train"


def test_a_size_that_the_stride_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(30, 32\).*multiples of 4"):
        VaeConfig(sizes=[(30, 32)])


def test_of_a_larger_table_only_the_clips_that_were_drawn_are_recorded(world, tmp_path) -> None:
    few = VaeConfig(
        sizes=[(32, 32)], block_out_channels=(8, 8, 8), num_steps=1, batch_size=2, max_clips=3
    )
    train_vae(few, [world.clips], tmp_path / "vae", validation_fraction=FRACTION)
    report = json.loads((tmp_path / "vae/psnr.json").read_text())
    assert report["trained_on"]["clips"] == 3 < len(clips_of(world, "train"))
