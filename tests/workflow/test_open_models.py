"""Adapters of tiny open models through the whole DAG, from clips to samples, from stores."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from opensora.cli.main import main
from opensora.config.load import load_config
from opensora.core.io import read_json, sha256_file
from opensora.media.encode import write_video
from opensora.stores.latents import LatentStore
from opensora.stores.memory import BatchMemory
from opensora.tables.io import read_table
from tests import tiny_open
from tests.open_families import FAMILIES
from tests.tiny_encoders import save_clip
from tests.tiny_open import wan_2_2_a14b

REPOSITORY = Path(__file__).parents[2]
SIDE, FRAMES, NUM_VIDEOS = 32, 16, 4
STAGE = """
_base_ = ["{base}"]
model = dict(from_pretrained="./pipeline")
vae = dict(from_pretrained="./pipeline")
text_encoder = dict(from_pretrained="./pipeline", model_max_length={length})
bucket_config = {{"32x32": {{9: (1.0, 2)}}}}
accumulate, num_steps, epochs, warmup_steps, log_every = 1, 2, 1, 0, 1
dtype, grad_checkpoint = "fp32", True
"""
SAMPLE = """
_base_ = ["{base}"]
num_frames, image_size, dtype = 9, (32, 32), "fp32"
text_encoder = dict(model_max_length={length})
scheduler = dict(num_sampling_steps=2)
"""
# family -> its configs of training and sampling
ROWS = {
    "wan": ("wan/train/t2v_1_3b_lora", "wan/inference/t2v_1_3b"),
    "ltx": ("ltx/train/t2v_lora", "ltx/inference/t2v"),
    "cogvideox-2b": ("cogvideox/train/t2v_2b_lora", "cogvideox/inference/t2v_2b"),
    "hunyuan-1.5": ("hunyuan/train/t2v_lora", "hunyuan/inference/t2v"),
    "sana-video": ("sana/train/t2v_lora", "sana/inference/t2v"),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ROWS)
def test_adapters_of_a_tiny_model_go_from_clips_to_samples(name: str, tmp_path: Path) -> None:
    family, (train, sample) = FAMILIES[name], ROWS[name]
    family.make(tmp_path / "pipeline")
    results = run(tmp_path, {"lora": train}, sample, family.text_encoder, family.length)
    saved = load_config(results / "train/lora/config.py").to_dict()
    assert saved["model"]["architecture"]["_class_name"].endswith("Transformer3DModel")
    assert saved["encoders"]["text_encoder"]["type"] == family.text_encoder
    assert (results / "train/lora/lora.safetensors").is_file()
    assert len(sampled(results / "samples/lora")) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_stages_train_two_transformers_and_both_make_the_samples(tmp_path: Path) -> None:
    wan_2_2_a14b(tmp_path / "pipeline")
    stages = {name: f"wan/train/t2v_a14b_{name}_lora" for name in ("high", "low")}
    results = run(tmp_path, stages, "wan/inference/t2v_a14b", "umt5", 32, low={"other": "high"})
    for name, part in (("high", "transformer"), ("low", "transformer_2")):
        saved = load_config(results / f"train/{name}/config.py").to_dict()
        assert (saved["model"]["part"], saved["model"]["boundary"]) == (part, 0.875)
        assert saved.get("load") is None
    (record,) = sampled(results / "samples/low")
    assert record["checkpoint"] == "results/wan/train/low/ema.safetensors"
    assert record["config"]["model"]["other"] == "results/wan/train/high/ema.safetensors"
    assert record["other_sha256"] == sha256_file(results / "train/high/ema.safetensors")


@pytest.mark.timeout(600)
def test_a_tiny_model_learns_and_samples_from_first_frames(tmp_path: Path) -> None:
    tiny_open.wan_pictures(tmp_path / "pipeline")
    for number in range(2):
        pixels = np.full((SIDE, SIDE, 3), 100 * number + 40, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "prompts.csv").write_text(
        "text,reference_path\na square moves,0.png\na square moves,1.png\n"
    )
    stages = {"lora": "wan/train/i2v_14b_lora"}
    results = run(
        *(tmp_path, stages, "wan/inference/i2v_14b", "umt5", 32),
        workflow="wan_i2v",
        prompts="prompts.csv",
    )
    store = LatentStore(results / "latents/lora")
    batch = store.read([0, 1], BatchMemory(pinned=False))
    assert batch["given"].shape == batch["latents"].shape
    assert batch["picture"].shape == (2, 1, tiny_open.PICTURE_TOKENS, tiny_open.PICTURE_CHANNELS)
    assert not torch.equal(batch["picture"][0], batch["picture"][1])
    records = sampled(results / "samples/lora")
    assert [record["image_encoder"]["type"] for record in records] == ["clip-vision"] * 2
    one, other = (results / "samples/lora" / record["path"] for record in records)
    assert one.read_bytes() != other.read_bytes()  # one text and one noise, two pictures
    away = ["export-weights", str(results / "train/lora"), "--output", str(tmp_path / "away")]
    assert main(away) == 0
    assert "pipeline_tag: image-to-video" in (tmp_path / "away/README.md").read_text()
    pipeline = diffusers.WanImageToVideoPipeline.from_pretrained(tmp_path / "pipeline")
    pipeline.load_lora_weights(tmp_path / "away")
    assert pipeline.get_active_adapters()


def sampled(folder: Path) -> list[dict[str, Any]]:
    """The records of the samples of a table, whose files are there."""
    paths = [folder / path for path in read_table(folder / "samples.csv")["path"]]
    assert all(path.is_file() for path in paths)
    return [read_json(path.with_suffix(".json")) for path in paths]


def run(
    folder: Path,
    stages: dict[str, str],
    sample: str,
    kind: str,
    length: int,
    workflow: str = "wan",
    prompts: str = "prompts.txt",
    **more: dict[str, Any],
) -> Path:
    """The whole DAG on a few drawn videos and the pipeline in `folder`; returns its results.

    Args:
        folder: where everything lies.
        stages: name -> config of training.
        sample: config of sampling.
        kind: of text encoder.
        length: of a text, in tokens.
        workflow: the shipped workflow config.
        prompts: their file.
        **more: further fields of a stage.
    """
    (folder / "videos").mkdir()
    for number in range(NUM_VIDEOS):
        shade = np.random.default_rng(number).integers(60, 200, 3)
        frames = np.broadcast_to(shade, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8).copy()
        for t, frame in enumerate(frames):
            frame[8:16, 2 + t : 10 + t] = 255 - frame[0, 0]
        path = folder / f"videos/{number}.mp4"
        write_video(path, frames, 8)
        path.with_suffix(".txt").write_text(f"square {number} moves")
    save_clip(folder / "clip")
    (folder / "prompts.txt").write_text("a square moves\n")
    for name, path in {**stages, "sample": sample}.items():
        base, text = REPOSITORY / f"configs/{path}.py", SAMPLE if path == sample else STAGE
        (folder / f"{name}.py").write_text(text.format(base=base, length=length))
    config = yaml.safe_load((REPOSITORY / f"configs/workflow/{workflow}.yaml").read_text())
    config |= {"run": "wan", "videos": ["videos"], "num_shards": 1, "validation_fraction": 0.0}
    config["captions"] = {"captioner": "sidecar"}
    config["clips"] = {"min_s": 1.0, "max_s": 4.0, "fps": 8, "short_side": SIDE}
    config["models"]["vae"]["from_pretrained"] = "./pipeline"
    config["models"]["text_encoder"] = {"type": kind, "from_pretrained": "./pipeline"}
    config["models"]["clip"]["from_pretrained"] = "./clip"
    given = {"given": config["encode"].get("given")}
    if config["encode"].get("image_encoder"):
        given["image_encoder"] = "./pipeline"
    config["encode"] = {"dtype": "fp32", "min_psnr": 0, "max_length": length, **given}
    config["stages"] = [
        {"name": name, "config": str(folder / f"{name}.py"), **more.get(name, {})}
        for name in stages
    ]
    config["sample"] = {"config": str(folder / "sample.py"), "prompts": prompts}
    config["scorers"] = ["technical"]
    config.pop("resources")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("sample_all", "--profile", str(REPOSITORY / "profiles/test"), "--cores", "2"),
        *("--directory", str(folder), "--configfile", str(folder / "config.yaml")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return folder / "results/wan"
