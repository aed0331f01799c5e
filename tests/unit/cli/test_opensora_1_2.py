"""STDiT3 at tiny width on autoencoders along time: that of Open-Sora 1.2, and Wan's."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from opensora.buckets.bucket import Bucket, TokenGrid
from opensora.cli.main import main
from opensora.config.latent_grid import read_grid
from opensora.core.io import read_json, sha256_file
from opensora.media.encode import write_video
from opensora.tables.columns import MANIFEST
from opensora.tables.io import read_table, write_table
from tests import tiny_open

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs/opensora-v1-2"
MODES = ("i2v", "first_last", "extend")  # of sampling, with the references that are shipped
FRAMES = {"v1_2": 22, "wan": 9}  # 17 and 5 more; 1 + 2 x 4
SHAPES = ("--model.type", "STDiT3", "--model.hidden-size", "24", "--model.depth", "1")
SHAPES += ("--model.num-heads", "2")


@pytest.fixture(name="world", scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of 22 frames and both autoencoders."""
    folder = tmp_path_factory.mktemp("world")
    rows = []
    for k in range(3):
        texture = np.random.default_rng(k).integers(0, 256, (32, 64, 3), np.uint8)
        path = folder / f"clip{k}.mp4"
        write_video(path, np.stack([texture[:, t : t + 32] for t in range(22)]), 24, crf=10)
        row = {"id": f"clip{k}", "path": str(path), "text": f"box {k} moves", "num_frames": 22}
        rows.append({**row, "sha256": sha256_file(path)})
    manifest = pd.DataFrame(rows).assign(
        width=32, height=32, aspect_ratio=1.0, resolution=1024, text_len=3, fps=24.0, source="s",
        start=0.0, end=0.9, split="train",
    )  # fmt: skip
    write_table(manifest, folder / "manifest.csv", MANIFEST)
    tiny_open.wan(folder / "wan")
    (folder / "v1_2").mkdir()
    runpy.run_path(str(ROOT / "tests/unit/models/vae/test_pipeline.py"))["save"](folder / "v1_2")
    return folder


def encoders(world: Path, video_world: Path, vae: str) -> list[str]:
    words = ["--vae", f"{world}/{vae}", "--text-encoder", f"{video_world}/t5"]
    return [*words, "--text-encoder.model-max-length", "16"]


@pytest.mark.parametrize(("vae", "config"), [("v1_2", "stage1.py"), ("wan", "wan_vae.py")])
def test_it_trains_and_samples(
    vae: str,
    config: str,
    world: Path,
    video_world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)  # where the references of the configs are found from
    outputs, frames = tmp_path / "out", FRAMES[vae]
    words = [*SHAPES, *encoders(world, video_world, vae), "--data-path", f"{world}/manifest.csv"]
    words += ["--bucket-config", f"{{'32x32': {{{frames}: (1.0, 1)}}}}", "--num-steps", "2"]
    words += ["--dtype", "fp32", "--plugin", "ddp", "--warmup-steps", "0", "--grad-checkpoint"]
    words += ["False", "--num-workers", "1", "--ema-decay", "0.0", "--lr", "0.01"]
    words += ["--model.in-channels", "4"] if vae == "wan" else []  # of the tiny one
    train = ["train", str(CONFIGS / "train" / config), "--outputs", str(outputs)]
    assert main([*train, *words]) == 0
    weights: dict[str, Any] = load_file(outputs / "ema.safetensors")
    assert weights["x_embedder.proj.weight"].shape[1] == 4  # channels of both
    made = tmp_path / "samples"
    words = [*encoders(world, video_world, vae), "--ckpt-path", str(outputs), "--device", "cpu"]
    words += ["--image-size", "32", "32", "--dtype", "fp32", "--num-sampling-steps", "2"]
    words += ["--model.type", "STDiT3"] if vae == "v1_2" else []
    name = "sample.py" if vae == "v1_2" else "wan_vae.py"
    own = ["--num-frames", str(frames), "--prompt", "a box", "--save-dir", str(made)]
    assert main(["sample", str(CONFIGS / "inference" / name), *words, *own]) == 0
    assert read_table(made / "samples.csv")["num_frames"].tolist() == [frames]
    for mode in MODES if vae == "v1_2" else ():
        own = ["--num-frames", "34", "--save-dir", str(tmp_path / mode)]  # two times 17
        assert main(["sample", str(CONFIGS / f"inference/{mode}.py"), *words, *own]) == 0
        assert read_table(tmp_path / mode / "samples.csv")["num_frames"].tolist() == [34, 34]


def test_a_length_that_it_can_not_take_is_refused_first(
    world: Path, video_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(CONFIGS / "train/stage1.py"), "--data-path", f"{world}/manifest.csv"]
    words += [
        "--vae.from-pretrained",
        f"{world}/v1_2",
        "--bucket-config",
        "{'32x32': {20: (1.0, 1)}}",
    ]
    assert main(["assign-buckets", *words, "--plan", str(tmp_path / "plan.parquet")]) == 2
    assert "20 frames, expected 1 + a multiple of 4, or as much" in capsys.readouterr().err
    grid = read_grid(world / "v1_2")
    tokens = TokenGrid(grid.stride, (1, 2, 2), grid.chunk)
    assert tokens.latent_size(Bucket("256", 51, "1.0")) == (15, 32, 32)
    assert TokenGrid(grid.stride).latent_size(Bucket("256", 51, "1.0"))[0] == 13


def test_the_plan_counts_the_tokens_of_such_a_length(world: Path, tmp_path: Path) -> None:
    words = ["--data-path", f"{world}/manifest.csv", "--summary", str(tmp_path / "summary.json")]
    words += ["--vae.from-pretrained", f"{world}/v1_2"]
    words += ["--bucket-config", "{'32x32': {22: (1.0, 1)}}", "--epochs", "1"]
    assert main(["assign-buckets", str(CONFIGS / "train/stage1.py"), *words]) == 0
    (row,) = read_json(tmp_path / "summary.json")["buckets"].values()
    assert row["tokens_per_sample"] == 7 * 2 * 2
