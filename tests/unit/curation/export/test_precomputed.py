"""Latents as LTX's trainers precompute them, read as their documents say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.core.errors import ConfigError, StoreError
from opensora.core.io import sha256_file
from opensora.curation.export.folders import LEFT_OUT, Choice, export_folder
from opensora.curation.manifest.import_manifest import import_manifest
from opensora.media.encode import write_video
from opensora.tables.io import read_table
from tests.tiny_stores import fill_latents

LARGE, SMALL = Bucket("144p", 17, "0.56"), Bucket("144p", 9, "0.56")
LTX2 = {
    **{"type": "LTX2VideoVAE", "patch_size": [8, 32, 32], "out_channels": 128},
    **{"scaling_factor": 1.0, "dtype": "bf16", "posterior": "mean"},
}
LTX = {**LTX2, "type": "LTXVideoVAE"}
NAMES = ["a", "b.c", "d", "v"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for k, split in enumerate(("train", "train", "train", "validation")):
        path = folder / f"{k}hash.mp4"
        write_video(path, np.full((20, 144, 256, 3), 40 * k, np.uint8), 24)
        rows.append({"path": str(path), "text": f"a “box” {k}", "split": split})
    return import_manifest(pd.DataFrame(rows)).manifest.assign(id=NAMES)


def latent(seed: int, bucket: Bucket, channels: int = 128) -> torch.Tensor:
    shape = (channels, (bucket.num_frames - 1) // 8 + 1, 4, 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)


def stored(folder: Path, identity: dict[str, Any]) -> Path:
    index = folder / "latents" / "0000.parquet"
    pairs = [("a", SMALL), ("a", LARGE), ("b.c", LARGE), ("v", LARGE)]
    values = {pair: latent(k, pair[1]) for k, pair in enumerate(pairs)}
    fill_latents(index, values, identity, fps=23.5)
    return index.parent


@pytest.mark.parametrize("identity", [LTX2, LTX], ids=["LTX-2", "LTX-Video-Trainer"])
def test_each_clip_has_an_object_named_as_its_captions_will_be(
    manifest: pd.DataFrame, tmp_path: Path, identity: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    left = export_folder(manifest, out, "ltx", choice=Choice(latents=stored(tmp_path, identity)))
    assert list(left["id"]) == ["d"] == list(read_table(out / LEFT_OUT)["id"])
    clips = json.loads((out / "train.json").read_text())
    assert [clip["caption"] for clip in clips] == ["a “box” 0", "a “box” 1"]
    # the scripts put what they make of a clip at its path, with another suffix
    names = [str(Path(clip["media_path"]).with_suffix(".pt")) for clip in clips]
    assert names == ["train/a.pt", "train/b.c.pt"]
    root = out / ".precomputed/latents"
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*.pt")) == names
    for name, clip, seed in zip(names, clips, (1, 2), strict=True):
        assert (out / clip["media_path"]).is_file()
        found = torch.load(root / name, weights_only=True)
        assert list(found) == ["latents", "num_frames", "height", "width", "fps"]
        size = (found["num_frames"], found["height"], found["width"])
        assert (*size, found["fps"]) == (3, 4, 8, 23.5)
        tensor = found["latents"]
        if identity is LTX:  # a row for each place
            assert tensor.shape == (3 * 4 * 8, 128)
            tensor = tensor.reshape(*size, 128).permute(3, 0, 1, 2)
        assert torch.equal(tensor, latent(seed, LARGE))
        assert (root / name).stat().st_size < 2 * tensor.numel() + 5000  # nothing else is in it
    note = (out / "README.md").read_text()
    assert "process_captions.py train.json" in note
    assert ("--text-encoder-path" in note) == (identity is LTX2)
    assert "batch_size" not in note


def test_of_moments_the_means_and_of_windows_the_first(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    index = tmp_path / "latents" / "0000.parquet"
    values = {("a", LARGE, start): latent(start, LARGE, 256) for start in (3, 0)}
    values |= {("b.c", SMALL, 0): latent(7, SMALL, 256)}
    fill_latents(index, values, {**LTX2, "posterior": "moments"})
    for name in ("one", "two"):
        choice = Choice(latents=index.parent)
        export_folder(manifest, tmp_path / name, "ltx", choice=choice)
    files = [sorted((tmp_path / name).rglob("*.pt")) for name in ("one", "two")]
    assert [path.name for path in files[0]] == ["a.pt", "b.c.pt"]
    assert list(map(sha256_file, files[0])) == list(map(sha256_file, files[1]))
    found = torch.load(files[0][0], weights_only=True)
    assert torch.equal(found["latents"], latent(0, LARGE, 256)[:128])
    assert "`batch_size: 1`" in (tmp_path / "one/README.md").read_text()


@pytest.mark.parametrize(
    "other",
    [{"type": "WanVAE"}, {"patch_size": [4, 16, 16]}, {"out_channels": 16}, {"scaling_factor": 2}],
)
def test_latents_of_another_autoencoder_are_refused(
    manifest: pd.DataFrame, tmp_path: Path, other: dict[str, Any]
) -> None:
    store = stored(tmp_path, {**LTX2, **other})
    with pytest.raises(StoreError, match=r"LTX's autoencoders .*leave --latents out"):
        export_folder(manifest, tmp_path / "out", "ltx", choice=Choice(latents=store))
    assert not (tmp_path / "out").exists()


def test_clips_must_stand_where_the_trainer_names_them(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="ltx finds clips by their folder"):
        export_folder(manifest, tmp_path / "out", "ltx", copy=False)
