"""The autoencoder of Open-Sora 1.2, against numbers of the reference itself.

tests/data/opensora_vae_1_2.safetensors is what its `OpenSoraVAE_V1_2` (tag v1.2.0, torch 2.11 on a
CPU, fp32) gave at tiny width, with weights by the names of parameters as in `save` below, and means
where it draws: `mean` the normalised latents, `std` of the posterior along time, `video` every
third frame and every fifth row and column of the decoded means.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from opensora.config.latent_grid import LatentGrid, read_grid
from opensora.core.errors import CheckpointError, ConfigError
from opensora.models.build import build_autoencoder
from opensora.models.vae.temporal import TemporalAutoencoder

GOLDEN = load_file(Path(__file__).parents[3] / "data/opensora_vae_1_2.safetensors")
CONFIG = {
    "model_type": "VideoAutoencoderPipeline",
    "micro_frame_size": 17,
    "shift": [-0.10, 0.34, 0.27, 0.98],
    "scale": [3.85, 2.32, 2.33, 3.06],
}
SPATIAL = {
    "block_out_channels": (32, 32, 64, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
}


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("vae"))


def save(folder: Path) -> Path:
    parts = {
        "spatial_vae.module.": AutoencoderKL(**SPATIAL),
        "temporal_vae.": TemporalAutoencoder((32, 64, 64, 128), depth=1),
    }
    tensors = {}
    for prefix, network in parts.items():
        for own, parameter in network.named_parameters():
            name = prefix + own
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            value = np.float32(rng.standard_normal(tuple(parameter.shape)) * 0.05)
            if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
                value = np.float32(1) + value
            tensors[name] = torch.from_numpy(value)
    # the reference's files have its normalisation beside them
    tensors["shift"] = torch.tensor(CONFIG["shift"])[None, :, None, None, None]
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def video(frames: int) -> torch.Tensor:
    rng = np.random.default_rng(frames)
    return torch.from_numpy(np.float32(rng.uniform(-1, 1, (1, 3, frames, 16, 24))))


@pytest.mark.parametrize("frames", [1, 22, 34])
@pytest.mark.parametrize("micro_batch_size", [4, None])
def test_numbers_are_those_of_the_reference(
    folder: Path, frames: int, micro_batch_size: int | None
) -> None:
    vae = build_autoencoder({"from_pretrained": str(folder), "micro_batch_size": micro_batch_size})
    moments = vae.encode(video(frames), posterior="moments")
    mean, std = GOLDEN[f"{frames}/mean"], GOLDEN[f"{frames}/std"]
    assert vae.get_latent_size((frames, 16, 24)) == tuple(mean.shape[2:])
    scale = torch.tensor(CONFIG["scale"]).view(-1, 1, 1, 1)
    torch.testing.assert_close(moments[:, :4], mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moments[:, 4:], std / scale, atol=1e-5, rtol=1e-5)
    found = vae.decode(mean)
    assert found.shape == (1, 3, frames, 16, 24)
    torch.testing.assert_close(
        found[:, :, ::3, ::5, ::5], GOLDEN[f"{frames}/video"], atol=2e-5, rtol=1e-4
    )


def test_runs_of_frames_know_nothing_of_each_other(folder: Path) -> None:
    vae = build_autoencoder({"from_pretrained": str(folder)})
    one = vae.encode(video(34), posterior="mean")
    torch.testing.assert_close(one[:, :, :5], vae.encode(video(34)[:, :, :17], posterior="mean"))
    changed = video(34)
    changed[:, :, 17:] = 0
    other = vae.encode(changed, posterior="mean")
    torch.testing.assert_close(other[:, :, :5], one[:, :, :5])
    assert (other[:, :, 5:] - one[:, :, 5:]).abs().max() > 1e-3


def test_widths_of_the_published_network_are_the_default() -> None:
    with torch.device("meta"):
        network = TemporalAutoencoder()
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert shapes["encoder.conv_in.conv.weight"] == (128, 4, 3, 3, 3)
    assert shapes["decoder.conv_blocks.2.conv.weight"] == (1024, 512, 3, 3, 3)
    assert shapes["encoder.block_res_blocks.3.0.conv3.conv.weight"] == (512, 256, 1, 1, 1)


@pytest.mark.parametrize(
    ("frames", "latents"), [(1, 1), (5, 2), (17, 5), (18, 6), (51, 15), (102, 30), (408, 120)]
)
def test_frames_and_latent_frames_say_each_other(folder: Path, frames: int, latents: int) -> None:
    grid = read_grid(folder)
    assert grid == LatentGrid((4, 8, 8), 4, 17)
    grid.check_frames(frames, "x")
    assert grid.latent_frames(frames) == latents
    assert grid.frames_of(latents) == frames


@pytest.mark.parametrize(
    ("frames", "near"), [(16, "13 or 17"), (20, "18 or 22"), (50, "47 or 51"), (3, "1 or 5")]
)
def test_other_lengths_name_the_nearest(folder: Path, frames: int, near: str) -> None:
    vae = build_autoencoder({"from_pretrained": str(folder)})
    with pytest.raises(ConfigError, match=f"beyond a multiple of 17; use {near}"):
        vae.get_latent_size((frames, 16, 16))


def test_a_folder_without_a_part_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    kept = {name: t for name, t in tensors.items() if not name.startswith("temporal_vae.decoder")}
    save_file(kept, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(CheckpointError, match="holds no weights of Open-Sora"):
        build_autoencoder({"from_pretrained": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"micro_frame_size is 16 and .* was trained with 17"):
        build_autoencoder({"from_pretrained": str(folder), "micro_frame_size": 16})


def test_the_runs_are_part_of_what_it_is(folder: Path) -> None:
    identity = build_autoencoder({"from_pretrained": str(folder)}).identity()
    assert (identity["type"], identity["micro_frame_size"]) == ("OpenSoraVAE", 17)
    assert identity["patch_size"] == [4, 8, 8]
