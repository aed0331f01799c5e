"""A few clips on the demo's small model: train, adapt, sample with adapters or merged weights."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensora.cli.main import main
from opensora.tables.io import read_table

CONFIGS = Path(__file__).parents[3] / "configs"
LORA = "{'rank': 4, 'targets': ['qkv', 'proj'], 'modules_to_save': ['scale_shift_table']}"


def train(world: Path, outputs: Path, *more: str) -> int:
    words = ["--data-path", f"{world}/manifest.csv", "--vae", f"{world}/vae", "--num-steps", "3"]
    words += ["--text-encoder", f"{world}/t5", "--text-encoder.model-max-length", "16"]
    words += ["--bucket-config", "{'24px': {4: (1.0, 2), 1: (1.0, 2)}}", "--ema-decay", "0.0"]
    demo = str(CONFIGS / "demo/train/online.py")
    return main(["train", demo, "--outputs", str(outputs), *words, *more])


def sample(world: Path, folder: Path, checkpoint: Path, *more: str) -> np.ndarray:
    """The pixels of one image."""
    words = ["--ckpt-path", str(checkpoint), "--vae", f"{world}/vae", "--device", "cpu"]
    words += ["--text-encoder", f"{world}/t5", "--prompt", "a cat", "--save-dir", str(folder)]
    words += ["--num-frames", "1", "--image-size", "24", "24", "--num-sampling-steps", "2"]
    demo = str(CONFIGS / "demo/inference/sample.py")
    assert main(["sample", demo, *words, *more]) == 0
    (path,) = read_table(folder / "samples.csv")["path"]
    return np.asarray(Image.open(folder / path)).astype(int)


@pytest.mark.slow
def test_adapters_of_a_few_clips_change_the_samples_of_the_model_they_sit_on(
    video_world, tmp_path, capsys
):
    base, out = tmp_path / "base", tmp_path / "lora"
    assert train(video_world, base) == 0
    assert train(video_world, out, "--load", str(base), "--lora", LORA) == 0
    file = out / "lora.safetensors"
    assert file.stat().st_size < 0.2 * (base / "ema.safetensors").stat().st_size
    plain = sample(video_world, tmp_path / "plain", base / "ema.safetensors")
    words = ["--lora", str(file)]
    applied = sample(video_world, tmp_path / "applied", base / "ema.safetensors", *words)
    merged = sample(video_world, tmp_path / "merged", out / "ema.safetensors")
    assert np.abs(applied - plain).max() > 0
    assert np.abs(applied - merged).max() <= 1  # equal up to the rounding of a pixel
    capsys.readouterr()
    # the merged weights are no base of these adapters
    demo, size = str(CONFIGS / "demo/inference/sample.py"), ("--image-size", "24", "24")
    words += ["--ckpt-path", str(out), "--vae", f"{video_world}/vae", *size]
    words += ["--text-encoder", f"{video_world}/t5", "--save-dir", str(tmp_path / "x")]
    assert main(["sample", demo, "--prompt", "a cat", *words]) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("opensora sample:")]
    assert len(lines) == 1
    assert "was trained on other weights than those it is put into" in lines[0]
