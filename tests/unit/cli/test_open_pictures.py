"""Tiny Wans that read given frames: trained from stores, and back in WanImageToVideoPipeline."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from opensora.cli.main import main
from opensora.config.load import read_saved_config
from opensora.config.registry import MODELS, build_module
from opensora.core.io import sha256_file
from opensora.media.encode import write_video
from opensora.models.weights.checkpoint import load_checkpoint
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table
from tests import tiny_open

CONFIGS = Path(__file__).parents[3] / "configs/wan/train"
FRAMES, SIDE, WORDS, SIZE = 5, 16, 512, (2, 2, 2)
# how it is made, which frames it is given, which transformer is trained, by which config
ROWS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "first, whole": ({}, "first", "transformer", "t2v_1_3b_full"),
    "first and last, adapters": ({"last": True}, "first_last", "transformer", "flf2v_14b_lora"),
    "first and last, whole": ({"last": True}, "first_last", "transformer", "t2v_1_3b_full"),
    "second of two, adapters": (
        {"reads_pictures": False, "two": True},
        "first",
        "transformer_2",
        "i2v_a14b_low_lora",
    ),
    "second of two, whole": (
        {"reads_pictures": False, "two": True},
        "first",
        "transformer_2",
        "t2v_1_3b_full",
    ),
}


@pytest.fixture(name="clips", scope="module")
def _clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of two clips."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for k in range(2):
        texture = np.random.default_rng(k).integers(0, 256, (SIDE, SIDE + FRAMES, 3), np.uint8)
        path = folder / f"{k}.mp4"
        write_video(path, np.stack([texture[:, t : t + SIDE] for t in range(FRAMES)]), 8)
        rows.append({"id": f"c{k}", "path": str(path), "text": f"box {k} moves"})
        rows[-1]["sha256"] = sha256_file(path)
    table = pd.DataFrame(rows).assign(
        width=SIDE, height=SIDE, aspect_ratio=1.0, resolution=SIDE**2, text_len=3, fps=8.0,
        num_frames=FRAMES, source="s", start=0.0, end=0.6, split="train",
    )  # fmt: skip
    write_table(table, folder / "manifest.csv", MANIFEST)
    return folder


def train(clips: Path, pipeline: Path, folder: Path, given: str, part: str, config: str) -> Path:
    """From clips to weights; returns the outputs."""
    data, plan, outputs = clips / "manifest.csv", folder / "plan.parquet", folder / "outputs"
    buckets = ["--bucket-config", f"{{'{SIDE}x{SIDE}': {{{FRAMES}: (1.0, 1)}}}}"]
    buckets += ["--accumulate", "1", "--num-steps", "2", "--warmup-steps", "0"]
    reads = ["--image-encoder", str(pipeline)] if (pipeline / "image_encoder").is_dir() else []
    stage = str(CONFIGS / f"{config}.py")
    commands = [
        ["assign-buckets", stage, "--data-path", str(data), "--plan", str(plan), *buckets],
        ["encode-videos", "--items", str(folder / "items/0000.parquet"), "--vae", str(pipeline)],
        ["encode-captions", "--manifest", str(data), "--text-encoder", str(pipeline)],
        ["train", stage, "--outputs", str(outputs), "--ckpt-path", str(pipeline), *buckets],
    ]
    commands[0] += ["--items", str(folder / "items"), "--vae-stride", "4", "8", "8"]
    commands[1] += ["--given", given, *reads, "--dtype", "fp32", "--min-psnr", "0"]
    commands[1] += ["--posterior", "mean", "--store", str(folder / "store")]
    commands[1] += ["--output", str(folder / "latents/0000.parquet"), "--device", "cpu"]
    commands[2] += ["--type", "umt5", "--max-length", str(WORDS), "--dtype", "fp32"]
    commands[2] += ["--store", str(folder / "texts"), "--device", "cpu"]
    commands[2] += ["--output", str(folder / "embeddings/0000.parquet")]
    commands[3] += ["--dataset.latents", str(folder / "latents"), "--dataset.plan", str(plan)]
    commands[3] += ["--dataset.embeddings", str(folder / "embeddings"), "--model.part", part]
    commands[3] += ["--dtype", "fp32", "--lr", "0.05", "--plugin", "ddp", "--ema-decay", "0.0"]
    for command in commands:
        assert main(command) == 0, command
    return outputs


@pytest.mark.parametrize("name", ROWS)
def test_what_was_trained_loads_in_the_pipeline_of_pictures(name, clips, tmp_path):
    how, given, part, config = ROWS[name]
    folder = tiny_open.wan_pictures(tmp_path / "wan", **how)
    outputs = train(clips, folder, tmp_path, given, part, config)
    target, official = tmp_path / "away", diffusers.WanImageToVideoPipeline
    words = ["export-weights", str(outputs), "--output", str(target)]
    if "whole" in name:
        assert main([*words, "--pipeline", str(folder)]) == 0
        pipeline = official.from_pretrained(target)
    else:
        assert main(words) == 0
        pipeline = official.from_pretrained(folder)
        second = part == "transformer_2"
        pipeline.load_lora_weights(target, load_into_transformer_2=second)
    assert "pipeline_tag: image-to-video" in (target / "README.md").read_text()
    base = load_file(folder / part / "diffusion_pytorch_model.safetensors")
    trained = load_file(outputs / "ema.safetensors")
    assert any((trained[name] != base[name]).any() for name in base)
    model = build_module(read_saved_config(outputs / "config.py")["model"], MODELS).eval()
    assert not load_checkpoint(model, outputs / "ema.safetensors").missing
    generator = torch.Generator().manual_seed(0)
    x, shown = torch.randn(2, 1, tiny_open.CHANNELS, *SIZE, generator=generator)
    text = torch.randn(1, WORDS, tiny_open.TEXT_CHANNELS, generator=generator)
    tokens = (1, 2 if how.get("last") else 1, tiny_open.PICTURE_TOKENS, tiny_open.PICTURE_CHANNELS)
    picture = torch.randn(tokens, generator=generator) if how.get("reads_pictures", True) else None
    marks, t = torch.zeros(1, 4, *SIZE), torch.tensor([500.0])
    marks[:, :, 0] = 1
    marks[:, 3, -1] = given == "first_last"
    told = {"given": shown, "num_given": torch.tensor([1.0 + (given == "first_last")])}
    image = None if picture is None else picture.flatten(0, 1)
    with torch.no_grad():
        network = getattr(pipeline, part)
        expected = network(torch.cat([x, marks, shown], 1), t, text, image, return_dict=False)[0]
        found = model(x, t, y=text[:, None], picture=picture, **told)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
