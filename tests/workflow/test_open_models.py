"""Adapters of tiny open models through the whole DAG, from clips to samples, from stores."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from opensora.cli.main import main
from opensora.config.load import load_config
from opensora.core.io import read_json, sha256_file
from opensora.stores.latents import LatentStore
from opensora.stores.memory import BatchMemory
from tests import tiny_open
from tests.open_families import FAMILIES
from tests.small_run import NUM_VIDEOS, REPOSITORY, SIDE, records, run_small
from tests.tiny_open import wan_2_2_a14b

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
    "ltx-2": ("ltx/train/ltx2_lora", "ltx/inference/ltx2"),
    "cogvideox-2b": ("cogvideox/train/t2v_2b_lora", "cogvideox/inference/t2v_2b"),
    "hunyuan-1.5": ("hunyuan/train/t2v_lora", "hunyuan/inference/t2v"),
    "sana-video": ("sana/train/t2v_lora", "sana/inference/t2v"),
}
# of one DAG; the contract tests compare all of them with diffusers
USUAL = ("wan", "ltx-2")
OTHERS = tuple(name for name in ROWS if name not in USUAL)
LONG = pytest.mark.long


def configs(stages: dict[str, str], sample: str, length: int) -> dict[str, str]:
    """Those of the stages and of sampling, on what they are shipped as."""

    def text(template: str, name: str) -> str:
        return template.format(base=REPOSITORY / f"configs/{name}.py", length=length)

    found = {stage: text(STAGE, name) for stage, name in stages.items()}
    return {**found, "sample": text(SAMPLE, sample)}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [*USUAL, *(pytest.param(name, marks=LONG) for name in OTHERS)])
def test_adapters_of_a_tiny_model_go_from_clips_to_samples(name: str, tmp_path: Path) -> None:
    family, (train, sample) = FAMILIES[name], ROWS[name]
    family.make(tmp_path / "pipeline")
    results = run_small(
        tmp_path,
        configs({"lora": train}, sample, family.length),
        vae="./pipeline",
        text_encoder={"type": family.text_encoder, "from_pretrained": "./pipeline"},
        length=family.length,
    )
    saved = load_config(results / "train/lora/config.py").to_dict()
    assert saved["model"]["architecture"]["_class_name"].endswith("Transformer3DModel")
    assert saved["encoders"]["text_encoder"]["type"] == family.text_encoder
    assert (results / "train/lora/lora.safetensors").is_file()
    assert len(records(results / "samples/lora")) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["t2v", "i2v"])
def test_two_stages_train_two_transformers_and_both_make_the_samples(
    mode: str, tmp_path: Path
) -> None:
    told: dict[str, Any] = {}
    if mode == "i2v":
        tiny_open.wan_pictures(tmp_path / "pipeline", reads_pictures=False, two=True)
        told = {"workflow": "wan_i2v", "reads_pictures": False, "prompts": prompts(tmp_path)}
    else:
        wan_2_2_a14b(tmp_path / "pipeline")
    stages = {name: f"wan/train/{mode}_a14b_{name}_lora" for name in ("high", "low")}
    results = run_small(
        tmp_path,
        configs(stages, f"wan/inference/{mode}_a14b", 32),
        vae="./pipeline",
        text_encoder={"type": "umt5", "from_pretrained": "./pipeline"},
        length=32,
        stages={"low": {"other": "high"}},
        **told,
    )
    for name, part in (("high", "transformer"), ("low", "transformer_2")):
        saved = load_config(results / f"train/{name}/config.py").to_dict()
        boundary = 0.9 if mode == "i2v" else 0.875
        assert (saved["model"]["part"], saved["model"]["boundary"]) == (part, boundary)
        assert saved.get("load") is None
    made = records(results / "samples/low")
    for record in made:
        assert record["checkpoint"] == "results/wan/train/low/ema.safetensors"
        assert record["config"]["model"]["other"] == "results/wan/train/high/ema.safetensors"
        assert record["other_sha256"] == sha256_file(results / "train/high/ema.safetensors")
    if mode == "i2v":  # one text and one noise, two pictures
        assert len({(results / "samples/low" / r["path"]).read_bytes() for r in made}) == 2
        read = LatentStore(results / "latents/low").read([0], BatchMemory(pinned=False))
        assert set(read) == {"latents", "given"}


def prompts(folder: Path) -> str:
    """A table of one prompt with two first frames; returns its name."""
    for number in range(2):
        pixels = np.full((SIDE, SIDE, 3), 100 * number + 40, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    lines = [f"a square moves,{number}.png\n" for number in range(2)]
    (folder / "prompts.csv").write_text("".join(["text,reference_path\n", *lines]))
    return "prompts.csv"


@pytest.mark.timeout(600)
def test_a_tiny_model_learns_and_samples_from_first_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_open.wan_pictures(tmp_path / "pipeline")
    results = run_small(
        tmp_path,
        configs({"lora": "wan/train/i2v_14b_lora"}, "wan/inference/i2v_14b", 32),
        vae="./pipeline",
        text_encoder={"type": "umt5", "from_pretrained": "./pipeline"},
        length=32,
        workflow="wan_i2v",
        prompts=prompts(tmp_path),
    )
    store = LatentStore(results / "latents/lora")
    batch = store.read([0, 1], BatchMemory(pinned=False))
    assert batch["given"].shape == batch["latents"].shape
    assert batch["picture"].shape == (2, 1, tiny_open.PICTURE_TOKENS, tiny_open.PICTURE_CHANNELS)
    assert not torch.equal(batch["picture"][0], batch["picture"][1])
    # they take the disk that was forecast, if CLIP makes the 257 tokens of the released one
    monkeypatch.chdir(tmp_path)
    plan = ["plan", str(tmp_path / "lora.py"), "--data-path", str(results / "manifest")]
    plan += ["--dtype", "fp32", "--output", str(tmp_path / "plan.json")]
    assert main(plan) == 0
    stored = sum(batch[part][0].nbytes for part in ("latents", "given"))
    stored += batch["picture"][0].nbytes * 257 // tiny_open.PICTURE_TOKENS
    assert read_json(tmp_path / "plan.json")["disk"]["latent_bytes"] == NUM_VIDEOS * stored
    made = records(results / "samples/lora")
    assert [record["image_encoder"]["type"] for record in made] == ["clip-vision"] * 2
    one, other = (results / "samples/lora" / record["path"] for record in made)
    assert one.read_bytes() != other.read_bytes()  # one text and one noise, two pictures
    away = ["export-weights", str(results / "train/lora"), "--output", str(tmp_path / "away")]
    assert main(away) == 0
    assert "pipeline_tag: image-to-video" in (tmp_path / "away/README.md").read_text()
    pipeline = diffusers.WanImageToVideoPipeline.from_pretrained(tmp_path / "pipeline")
    pipeline.load_lora_weights(tmp_path / "away")
    assert pipeline.get_active_adapters()
