"""Adapters of tiny open models through the whole DAG, from clips to samples, from stores."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from opensora.config.load import load_config
from opensora.media.encode import write_video
from opensora.tables.io import read_table
from tests.open_families import FAMILIES
from tests.tiny_encoders import save_clip

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
    (tmp_path / "videos").mkdir()
    for number in range(NUM_VIDEOS):
        shade = np.random.default_rng(number).integers(60, 200, 3)
        frames = np.broadcast_to(shade, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8).copy()
        for t, frame in enumerate(frames):
            frame[8:16, 2 + t : 10 + t] = 255 - frame[0, 0]
        path = tmp_path / f"videos/{number}.mp4"
        write_video(path, frames, 8)
        path.with_suffix(".txt").write_text(f"square {number} moves")
    family = FAMILIES[name]
    family.make(tmp_path / "pipeline")
    save_clip(tmp_path / "clip")
    (tmp_path / "prompts.txt").write_text("a square moves\n")
    for path, text in zip(ROWS[name], (STAGE, SAMPLE), strict=True):
        base = REPOSITORY / f"configs/{path}.py"
        target = tmp_path / f"{Path(path).parent.name}.py"
        target.write_text(text.format(base=base, length=family.length))
    config = yaml.safe_load((REPOSITORY / "configs/workflow/wan.yaml").read_text())
    config |= {"videos": ["videos"], "num_shards": 1, "validation_fraction": 0.0}
    config["captions"] = {"captioner": "sidecar"}
    config["clips"] = {"min_s": 1.0, "max_s": 4.0, "fps": 8, "short_side": SIDE}
    config["models"]["vae"]["from_pretrained"] = "./pipeline"
    texts = {"type": family.text_encoder, "from_pretrained": "./pipeline"}
    config["models"]["text_encoder"] = texts
    config["models"]["clip"]["from_pretrained"] = "./clip"
    config["encode"] = {"dtype": "fp32", "min_psnr": 0, "max_length": family.length}
    config["stages"] = [{"name": "lora", "config": str(tmp_path / "train.py")}]
    config["sample"] = {"config": str(tmp_path / "inference.py"), "prompts": "prompts.txt"}
    config["scorers"] = ["technical"]
    config.pop("resources")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("sample_all", "--profile", str(REPOSITORY / "profiles/test"), "--cores", "2"),
        *("--directory", str(tmp_path), "--configfile", str(tmp_path / "config.yaml")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    results = tmp_path / "results/wan"
    saved = load_config(results / "train/lora/config.py").to_dict()
    assert saved["model"]["architecture"]["_class_name"].endswith("Transformer3DModel")
    assert saved["encoders"]["text_encoder"]["type"] == family.text_encoder
    assert (results / "train/lora/lora.safetensors").is_file()
    (sample,) = read_table(results / "samples/lora/samples.csv").to_dict("records")
    assert (results / "samples/lora" / sample["path"]).is_file()
