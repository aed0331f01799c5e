"""Latents as the cache of musubi-tuner: names, keys, values, and whose they may be."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from opensora.buckets.bucket import Bucket
from opensora.cli.main import EXIT_USER, main
from opensora.core.errors import StoreError, TableError
from opensora.core.io import sha256_file
from opensora.curation.export import latents as module
from opensora.curation.export.folders import LEFT_OUT, Choice, export_folder
from opensora.curation.manifest.import_manifest import import_manifest
from opensora.media.encode import write_video
from opensora.tables.columns import MANIFEST
from opensora.tables.io import read_table, write_table
from tests.tiny_stores import fill_latents

VIDEO, IMAGE = Bucket("144p", 17, "0.56"), Bucket("144p", 1, "1.00")
WAN = {
    **{"type": "WanVAE", "patch_size": [4, 8, 8], "out_channels": 16, "scaling_factor": 1.0},
    **{"latents_mean": list(module._MEAN), "latents_std": list(module._STD)},
    **{"dtype": "bf16", "posterior": "mean"},
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for k, split in enumerate(("train", "train", "train", "validation")):
        path = folder / f"{k}hash.mp4"
        write_video(path, np.full((20, 144, 256, 3), 40 * k, np.uint8), 24)
        rows.append({"path": str(path), "text": f"a “box” {k}", "split": split})
    return import_manifest(pd.DataFrame(rows)).manifest.assign(id=["a", "b", "c_d", "v"])


def latent(seed: int, bucket: Bucket, channels: int = 16) -> torch.Tensor:
    height, width = bucket.size
    shape = (channels, (bucket.num_frames - 1) // 4 + 1, height // 8, width // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)


def stored(folder: Path, identity: dict[str, Any] = WAN, channels: int = 16) -> Path:
    index = folder / "latents" / "0000.parquet"
    pairs = [("a", VIDEO), ("c_d", VIDEO), ("a", IMAGE), ("v", VIDEO)]
    values = {pair: latent(k, pair[1], channels) for k, pair in enumerate(pairs)}
    fill_latents(index, values, identity)
    return index.parent


def test_each_latent_is_a_file_that_its_trainer_finds(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    store, out = stored(tmp_path), tmp_path / "out"
    left = export_folder(manifest, out, "musubi", choice=Choice(latents=store))
    assert list(left["id"]) == ["b"] == list(read_table(out / LEFT_OUT)["id"])
    assert "no latent" in left["detail"].iloc[0]
    height, width = VIDEO.size
    names = sorted(str(path.relative_to(out / "cache")) for path in out.rglob("*.safetensors"))
    place = f"videos_17_{width}x{height}"
    still = f"images_{IMAGE.size[1]}x{IMAGE.size[0]}"
    assert names == [
        f"{still}/a_{IMAGE.size[1]:04d}x{IMAGE.size[0]:04d}_wan.safetensors",
        f"{place}/a_00000-017_{width:04d}x{height:04d}_wan.safetensors",
        f"{place}/c_d_00000-017_{width:04d}x{height:04d}_wan.safetensors",
    ]
    with safe_open(out / "cache" / names[2], framework="pt") as file:
        (key,) = file.keys()
        assert key == f"latents_5x{height // 8}x{width // 8}_bfloat16"
        assert torch.equal(file.get_tensor(key), latent(1, VIDEO))
        notes = file.metadata()
    assert notes == {
        **{"architecture": "wan", "width": str(width), "height": str(height)},
        **{"frame_count": "17", "format_version": "1.0.1"},
    }
    with safe_open(out / "cache" / names[0], framework="pt") as file:
        assert list(file.keys()) == [
            f"latents_1x{IMAGE.size[0] // 8}x{IMAGE.size[1] // 8}_bfloat16"
        ]
        assert "frame_count" not in file.metadata()
    settings = tomllib.loads((out / "dataset.toml").read_text())
    assert settings["general"] == {"batch_size": 1, "enable_bucket": False}
    of_videos = next(one for one in settings["datasets"] if "video_jsonl_file" in one)
    assert of_videos["resolution"] == [width, height]
    assert of_videos["target_frames"] == [17]
    assert of_videos["cache_directory"] == str(out / "cache" / place)
    table = read_table(Path(of_videos["video_jsonl_file"]))
    assert list(table["caption"]) == ["a “box” 0", "a “box” 2"]
    for path, name in zip(table["video_path"], names[1:], strict=True):
        assert Path(path).is_file()
        assert Path(name).name.startswith(f"{Path(path).stem}_00000-017")


def test_equal_bytes_and_clips_where_they_stand(manifest: pd.DataFrame, tmp_path: Path) -> None:
    store = stored(tmp_path)
    for name in ("one", "two"):
        choice = Choice(latents=store)
        export_folder(manifest, tmp_path / name, "musubi", copy=name == "one", choice=choice)
    files = [sorted((tmp_path / name).rglob("*.safetensors")) for name in ("one", "two")]
    assert sorted(map(sha256_file, files[0])) == sorted(map(sha256_file, files[1]))
    assert "0hash_00000-017" in files[1][1].name  # as the trainer names it by the clip's file


def test_of_moments_the_means_are_taken_and_windows_say_where_they_begin(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    index = tmp_path / "latents" / "0000.parquet"
    values = {("a", VIDEO, start): latent(start, VIDEO, 32) for start in (0, 3)}
    fill_latents(index, values, {**WAN, "posterior": "moments"})
    export_folder(manifest, tmp_path / "out", "musubi", choice=Choice(latents=index.parent))
    files = sorted((tmp_path / "out").rglob("*.safetensors"))
    assert [path.name.split("_")[1] for path in files] == ["00000-017", "00003-017"]
    with safe_open(files[1], framework="pt") as file:
        (key,) = file.keys()
        assert torch.equal(file.get_tensor(key), latent(3, VIDEO, 32)[:16])


@pytest.mark.parametrize(
    "other",
    [
        {"type": "VideoAutoencoderKL"},
        {"patch_size": [4, 16, 16]},
        {"latents_mean": [0.0] * 16},
        {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4, "out_channels": 4},
    ],
)
def test_latents_of_another_autoencoder_are_refused(
    manifest: pd.DataFrame, tmp_path: Path, other: dict[str, Any]
) -> None:
    store = stored(tmp_path, {**WAN, **other})
    with pytest.raises(StoreError, match=r"Wan 2.1's autoencoder .*leave --latents out"):
        export_folder(manifest, tmp_path / "out", "musubi", choice=Choice(latents=store))
    assert not (tmp_path / "out").exists()


def test_latents_of_other_clips_and_options_without_effect(
    manifest: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = stored(tmp_path)
    others = manifest.assign(id=["w", "x", "y", "z"])
    with pytest.raises(TableError, match="none of 3 clips for training has a latent"):
        export_folder(others, tmp_path / "out", "musubi", choice=Choice(latents=store))
    write_table(manifest, tmp_path / "m.csv", MANIFEST)
    call = ["export", "--manifest", str(tmp_path / "m.csv"), "--output", str(tmp_path / "o")]
    call += ["--latents", str(store), "--format"]
    assert main([*call, "finetrainers"]) == EXIT_USER
    assert "--latents: says nothing to --format finetrainers" in capsys.readouterr().err
    assert main([*call, "musubi", "--fps", "16"]) == EXIT_USER
    assert "--fps: has no effect with --latents" in capsys.readouterr().err
    assert main([*call, "musubi"]) == 0
    assert "1 left out" in capsys.readouterr().out
