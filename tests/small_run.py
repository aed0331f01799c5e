"""A whole DAG on a few drawn videos and given encoders, as small as it gets."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from opensora.core.io import read_json
from opensora.media.encode import write_video
from opensora.tables.io import read_table
from tests.tiny_encoders import save_clip

REPOSITORY = Path(__file__).parents[1]
SIDE, FRAMES, NUM_VIDEOS = 32, 16, 4


def run_small(
    folder: Path,
    configs: dict[str, str],
    *,
    vae: str,
    text_encoder: dict[str, str],
    length: int,
    stages: dict[str, dict[str, Any]] | None = None,
    workflow: str = "wan",
    prompts: str = "prompts.txt",
    reads_pictures: bool = True,
) -> Path:
    """Run it; returns the folder of its results.

    Args:
        folder: where everything lies, and where snakemake runs.
        configs: text of the config of each stage by its name, and of `sample`.
        vae: folder of the autoencoder.
        text_encoder: type and folder.
        length: of a text, in tokens.
        stages: further fields of stages.
        workflow: name of the shipped workflow config.
        prompts: their file.
        reads_pictures: whether the `image_encoder` that a config names is taken, from the pipeline.
    """
    _draw(folder / "videos")
    save_clip(folder / "clip")
    (folder / "prompts.txt").write_text("a square moves\n")
    for name, text in configs.items():
        (folder / f"{name}.py").write_text(text)
    config = yaml.safe_load((REPOSITORY / f"configs/workflow/{workflow}.yaml").read_text())
    config |= {"run": "wan", "videos": ["videos"], "num_shards": 1, "validation_fraction": 0.0}
    config["captions"] = {"captioner": "sidecar"}
    config["clips"] = {"min_s": 1.0, "max_s": 4.0, "fps": 8, "short_side": SIDE}
    config["models"]["vae"]["from_pretrained"] = vae
    config["models"]["text_encoder"] = text_encoder
    config["models"]["clip"]["from_pretrained"] = "./clip"
    given = {"given": config["encode"].get("given")}
    if config["encode"].get("image_encoder") and reads_pictures:
        given["image_encoder"] = vae
    config["encode"] = {"dtype": "fp32", "min_psnr": 0, "max_length": length, **given}
    config["stages"] = [
        {"name": name, "config": str(folder / f"{name}.py"), **(stages or {}).get(name, {})}
        for name in configs
        if name != "sample"
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


def _draw(folder: Path) -> None:
    """Squares that move to the right, each with its caption."""
    folder.mkdir()
    for number in range(NUM_VIDEOS):
        shade = np.random.default_rng(number).integers(60, 200, 3)
        frames = np.broadcast_to(shade, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8).copy()
        for t, frame in enumerate(frames):
            frame[8:16, 2 + t : 10 + t] = 255 - frame[0, 0]
        path = folder / f"{number}.mp4"
        write_video(path, frames, 8)
        path.with_suffix(".txt").write_text(f"square {number} moves")


def records(folder: Path) -> list[dict[str, Any]]:
    """Of the samples of a table, whose files are there."""
    paths = [folder / path for path in read_table(folder / "samples.csv")["path"]]
    assert all(path.is_file() for path in paths)
    return [read_json(path.with_suffix(".json")) for path in paths]
