"""The grid of latents as folders say it, and the lengths of videos that it refuses."""

import json
from pathlib import Path

import diffusers
import pytest

from opensora.config.latent_grid import check_config_frames, config_grid, read_grid, run_grid
from opensora.core.errors import CheckpointError, ConfigError

NETWORKS = {
    "AutoencoderKL": {"block_out_channels": (32,) * 3, "norm_num_groups": 8},
    "AutoencoderKLWan": {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1]},
}


def folder(place: Path, network: str) -> Path:
    fields = NETWORKS[network]
    if network == "AutoencoderKL":
        fields = {**fields, "down_block_types": ("DownEncoderBlock2D",) * 3}
        fields["up_block_types"] = ("UpDecoderBlock2D",) * 3
    getattr(diffusers, network)(**fields).save_config(place)
    return place


def run_config(vae: Path | str | None, stride: list[int] | None) -> dict:
    return {
        "models": {"vae": {"from_pretrained": vae and str(vae), "config": "vae.py"}},
        "encode": {"vae_stride": stride},
    }


def test_a_run_asks_the_folder_or_the_config_that_its_autoencoder_is_trained_by(tmp_path):
    wan = folder(tmp_path / "wan", "AutoencoderKLWan")
    found = run_grid(run_config(wan, None), dict)
    assert (found.stride, found.frame_step) == ((4, 8, 8), 4)
    trained = {"vae.py": {"block_out_channels": (8, 8)}}.__getitem__
    assert run_grid(run_config(None, None), trained).stride == (1, 2, 2)
    assert run_grid(run_config(None, None), lambda _: {}).stride == (1, 4, 4)
    with pytest.raises(ConfigError, match=r"is \[1, 8, 8\] and the autoencoder has \[4, 8, 8\]"):
        run_grid(run_config(wan, [1, 8, 8]), dict)


def test_an_autoencoder_that_is_not_here_needs_its_stride(tmp_path):
    with pytest.raises(ConfigError, match=r"'org/vae' is not on this disk.*give frames, rows"):
        run_grid(run_config("org/vae", None), dict)
    assert run_grid(run_config("org/vae", [4, 8, 8]), dict).frame_step == 4


def test_a_pipeline_is_asked_for_its_autoencoder(tmp_path):
    folder(tmp_path / "vae", "AutoencoderKL")
    (tmp_path / "model_index.json").write_text("{}")
    assert config_grid({"vae": {"from_pretrained": str(tmp_path)}}, None).stride == (1, 4, 4)
    assert config_grid({}, None).stride == (1, 8, 8)
    assert config_grid({}, [2, 4, 4]).stride == (2, 4, 4)


def test_a_folder_of_something_else_is_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet"}))
    with pytest.raises(CheckpointError, match="_class_name is 'UNet'; expected one of"):
        read_grid(tmp_path)


def test_lengths_that_the_autoencoder_can_not_take_name_the_nearest(tmp_path):
    wan = read_grid(folder(tmp_path, "AutoencoderKLWan"))
    good = {"bucket_config": {"144p": {1: (1.0, 8), 17: (1.0, 2)}, "32px": {5: (1.0, 1)}}}
    check_config_frames(good, wan, "stage.py")
    check_config_frames({"num_frames": 81}, wan, "stage.py")
    bad = {"bucket_config": {"144p": {1: (1.0, 8), 16: (1.0, 2)}}}
    sentence = "stage.py: bucket_config '144p': 16 frames, expected 1 .* of 4; use 13 or 17"
    with pytest.raises(ConfigError, match=sentence):
        check_config_frames(bad, wan, "stage.py")
    with pytest.raises(ConfigError, match="num_frames: 16 frames"):
        check_config_frames({"dataset": {"num_frames": 16}}, wan, "stage.py")
