"""The training configs of the reference, at tiny width, from stores that the DAG fills."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from opensora.config.load import load_config
from opensora.config.registry import MODELS, build_module
from opensora.media.encode import write_video
from tests.tiny_encoders import TEXT_LENGTH, save_clip, save_t5, save_vae

REPOSITORY = Path(__file__).parents[2]
CORES = "1" if os.environ.get("OMP_NUM_THREADS") == "1" else "2"
NUM_VIDEOS, NUM_FRAMES, SIDE = 6, 16, 32
CONFIGS = {  # of the reference -> plain class of its model, text encoder
    "opensora/train/16x256x256": ("STDiT", "t5"),
    "dit/train/16x256x256": ("DiT", "clip"),
    "latte/train/16x256x256": ("Latte", "clip"),
}
TINY = """
_base_ = ["{base}"]
# the run has encoders of its own
vae = dict(from_pretrained=None)
text_encoder = dict(from_pretrained=None, model_max_length=None)

model = dict(type="{model}", patch_size=(1, 2, 2), hidden_size=24, depth=2, num_heads=2,
             from_pretrained=None)
dataset = dict(image_size=({side}, {side}), frame_interval=1)
batch_size = 2
epochs = 1
plugin = "ddp"  # the reference's needs a GPU
dtype = "fp32"
log_every = 1
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos with their captions, and encoders of random weights."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "videos").mkdir()
    for number in range(NUM_VIDEOS):
        frames = np.empty((NUM_FRAMES, SIDE, SIDE, 3), np.uint8)
        frames[:] = np.random.default_rng(number).integers(60, 200, 3)
        for t, frame in enumerate(frames):
            frame[8:16, 4 + t : 12 + t] = 255 - frame[0, 0]
        path = folder / f"videos/{number}.mp4"
        write_video(path, frames, 8)
        path.with_suffix(".txt").write_text(f"square {number} moves")
    for name, save in {"vae": save_vae, "t5": save_t5, "clip": save_clip}.items():
        save(folder / name)
    (folder / "prompts.txt").write_text("a square\n")
    return folder


def train_all(folder: Path, name: str) -> Path:
    """Train one config of the reference in the run that all share; returns its results."""
    model, encoder = CONFIGS[name]
    stage = model.lower()
    base = REPOSITORY / f"configs/{name}.py"
    config_file = folder / f"{stage}.py"
    config_file.write_text(TINY.format(base=base, model=model, side=SIDE))
    config = {
        "run": "tiny",
        "num_shards": 1,
        "videos": ["videos"],
        "clips": {"min_s": 1.0, "max_s": 4.0, "fps": 8, "short_side": SIDE},
        "scorers": ["technical"],
        "validation_fraction": 0.0,
        "models": {
            "vae": {"from_pretrained": "./vae"},
            "clip": {"from_pretrained": "./clip"},
            "text_encoder": {"type": encoder, "from_pretrained": f"./{encoder}"},
        },
        "encode": {
            **{"dtype": "fp32", "min_psnr": 0, "vae_stride": [1, 4, 4]},
            "max_length": TEXT_LENGTH if encoder == "clip" else None,
        },
        "stages": [{"name": stage, "config": str(config_file)}],
        "sample": {"prompts": "prompts.txt"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("train_all", "--profile", str(REPOSITORY / "profiles/test"), "--cores", CORES),
        *("--directory", str(folder), "--configfile", str(folder / "config.yaml")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return folder / "results/tiny/train" / stage


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_the_reference_trains_from_stores(folder: Path, name: str) -> None:
    manifest = folder / "results/tiny/manifest/0000.parquet"
    curated = manifest.stat().st_mtime_ns if manifest.exists() else None
    results = train_all(folder, name)
    assert curated in (None, manifest.stat().st_mtime_ns)  # the clips serve all three

    model, encoder = CONFIGS[name]
    saved = load_config(results / "config.py").to_dict()
    assert saved["dataset"] == {
        "type": "LatentDataset",
        "latents": f"results/tiny/latents/{results.name}",
        "embeddings": "results/tiny/embeddings",
        "plan": f"results/tiny/buckets/{results.name}/settled.parquet",
    }
    assert saved["encoders"]["text_encoder"]["type"] == encoder
    assert saved["model"]["type"] == model
    lines = [json.loads(line) for line in (results / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]  # six clips in batches of two
    assert all(0 < line["loss"] < 10 for line in lines)

    fields: dict[str, Any] = saved["model"]
    fresh = build_module(fields, MODELS).state_dict()
    weights, average = (load_file(results / f"{x}.safetensors") for x in ("model", "ema"))
    assert weights.keys() == average.keys() == fresh.keys()
    assert {key: value.shape for key, value in weights.items()} == {
        key: value.shape for key, value in fresh.items()
    }
    caption = weights["y_embedder.y_embedding"]
    assert caption.shape == (1 if encoder == "clip" else 120, 16)
    assert any(weights[key].ne(average[key]).any() for key in weights)
