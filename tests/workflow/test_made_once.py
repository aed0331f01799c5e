"""What was encoded and scored once is not made again, whatever changes around it.

The table "What is encoded again" of docs/architecture.md is the test: each of its changes follows
the one before, in a run of its own that is watched call by call.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from opensora.media.encode import write_video
from opensora.models.clip_model import ClipModel, save_clip
from opensora.tables.corrections import Correction, put_correction
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest
from tests.tiny_encoders import save_t5, save_vae

REPOSITORY = Path(__file__).parents[2]
CORES = "1" if os.environ.get("OMP_NUM_THREADS") == "1" else "2"
PAGE, TITLE = REPOSITORY / "docs/architecture.md", "## What is encoded again"
NUM_VIDEOS, NUM_FRAMES, SIDE = 12, 12, 32
ENCODERS = ("vae", "text_encoder", "clip")
STAGE = """
_base_ = ["{base}"]
bucket_config = dict(_delete_=True, **{{"{resolution}": {{8: (1.0, 1)}}}})
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Run(NamedTuple):
    """A folder with videos, and the config of its run."""

    folder: Path
    config: dict[str, Any]


def add_video(run: Run, number: int) -> None:
    """A square that moves over a ground of its own colour, with its caption beside it."""
    frames = np.empty((NUM_FRAMES, SIDE, SIDE, 3), np.uint8)
    frames[:] = np.random.default_rng(number).integers(60, 200, 3)
    for t, frame in enumerate(frames):
        frame[8:16, 4 + t : 12 + t] = 255 - frame[0, 0]
    path = run.folder / f"videos/{number:03d}.mp4"
    write_video(path, frames, 8)
    path.with_suffix(".txt").write_text(f"square number {number} moves to the right")


def set_stage(run: Run, number: int, resolution: str) -> None:
    """Write the config of a stage with one bucket."""
    base = REPOSITORY / "tests/data/configs/stage1.py"
    text = STAGE.format(base=base, resolution=resolution)
    (run.folder / f"stage{number}.py").write_text(text)


def rename_video(run: Run) -> None:
    """Give a video and its caption another name."""
    for suffix in (".mp4", ".txt"):
        path = run.folder / f"videos/003{suffix}"
        path.rename(path.with_name(f"another name{suffix}"))


def remove_video(run: Run) -> None:
    """Take a video and its caption away."""
    for suffix in (".mp4", ".txt"):
        (run.folder / f"videos/005{suffix}").unlink()


def loosen(run: Run) -> None:
    """Another threshold, that every clip passes."""
    run.config["filters"] = {"frozen_ratio": {"max": 0.8}}


def rewrite_caption(run: Run) -> None:
    """Another caption for a video."""
    (run.folder / "videos/007.txt").write_text("a ball that was a square before")


def correct_caption(run: Run) -> None:
    """A table of corrections, which the config named before it was there."""
    correct(run, Correction(clip_of(run, "008"), caption="a toy that slides on a table"))


def mark_clip_out(run: Run) -> None:
    """A clip that is to stay out."""
    correct(run, Correction(clip_of(run, "009"), mark="out"))


def correct(run: Run, row: Correction) -> None:
    put_correction(run.folder / run.config["corrections"], row, Correction(row.id))


def clip_of(run: Run, video: str) -> str:
    """The id of the clip of a video, as the manifest has it."""
    manifest = read_manifest(run.folder / "results/own/manifest")
    return str(manifest.loc[manifest["source"].str.endswith(f"{video}.mp4"), "id"].item())


# in the words of the table: the change, by name, and how many of each encoder's items are new
CHANGES: dict[str, Callable[[Run], None]] = {
    "from nothing": lambda run: None,
    "one more video": lambda run: add_video(run, NUM_VIDEOS),
    "a renamed video": rename_video,
    "a video less": remove_video,
    "another threshold": loosen,
    "one changed caption": rewrite_caption,
    "a corrected caption": correct_caption,
    "a clip marked out": mark_clip_out,
    "`bucket_config` of stage 2": lambda run: set_stage(run, 2, "24px"),
    "nothing": lambda run: None,
}
NUMBERS = {
    "nothing": 0,
    "its clips": 1,
    "its text": 1,
    "all": NUM_VIDEOS,
    "all but its clip": NUM_VIDEOS - 1,
}


def table_of_page() -> dict[str, tuple[int, ...]]:
    """The changes of the page and the items that each encoder is given."""
    lines = PAGE.read_text().split(TITLE)[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {change: tuple(NUMBERS[cell] for cell in cells) for change, *cells in rows[2:]}


def precompute(run: Run) -> tuple[int, ...]:
    """Run `precompute_all`; returns how many different items each encoder was given."""
    calls = run.folder / "calls.jsonl"
    calls.unlink(missing_ok=True)
    (run.folder / "config.yaml").write_text(yaml.safe_dump(run.config))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("precompute_all", "--profile", str(REPOSITORY / "profiles/test"), "--cores", CORES),
        *("--directory", str(run.folder), "--configfile", str(run.folder / "config.yaml")),
    ]
    paths = [str(REPOSITORY / "tests/workflow/counting"), os.environ.get("PYTHONPATH", "")]
    watched = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OPENSORA_CALLS": str(calls)}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env=os.environ | watched,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    items: dict[str, set[str]] = {name: set() for name in ENCODERS}
    for line in calls.read_text().splitlines() if calls.exists() else ():
        call = json.loads(line)
        items[call["encoder"]] |= set(call["items"])
    return tuple(len(items[name]) for name in ENCODERS)


@pytest.fixture(params=["given", pytest.param("trained", marks=pytest.mark.long)])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Videos with captions, and encoders that are given or that the run trains."""
    config: dict[str, Any] = {
        "run": "own",
        "num_shards": 2,
        "videos": ["videos"],
        "clips": {"min_s": 1.0, "max_s": 2.0, "fps": 8, "short_side": SIDE},
        "scorers": ["technical", "match"],
        "filters": {"frozen_ratio": {"max": 0.9}},
        "validation_fraction": 0.1,
        "corrections": "mine/corrections.csv",
        "encode": {"dtype": "fp32", "min_psnr": 0, "vae_stride": [1, 4, 4], "max_length": 32},
        "stages": [{"name": f"stage{k}", "config": str(tmp_path / f"stage{k}.py")} for k in (1, 2)],
        "sample": {"prompts": "prompts.txt"},
    }
    if request.param == "given":
        save_vae(tmp_path / "vae")
        save_t5(tmp_path / "text_encoder")
        save_clip(tmp_path / "clip", ClipModel(_clip_config()))
        config["models"] = {name: {"from_pretrained": f"./{name}"} for name in ENCODERS}
    else:
        names = {name: REPOSITORY / f"tests/data/configs/{name}.py" for name in ENCODERS}
        config["models"] = {name: {"config": str(path)} for name, path in names.items()}
    run = Run(tmp_path, config)
    (tmp_path / "videos").mkdir()
    (tmp_path / "prompts.txt").write_text("a square\n")
    for number in range(NUM_VIDEOS):
        add_video(run, number)
    set_stage(run, 1, "32px")
    set_stage(run, 2, "32px")
    return run


def _clip_config() -> dict[str, Any]:
    vision = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
    return {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}}


def test_nothing_is_encoded_twice(run: Run) -> None:
    found = {}
    for name, change in CHANGES.items():
        change(run)
        found[name] = precompute(run)
    assert found == table_of_page()
    reasons = read_table(run.folder / "results/own/rejected.csv")
    manifest = read_manifest(run.folder / "results/own/manifest")
    assert "a toy that slides on a table" in set(manifest["text"])
    assert (reasons["reason"] == "marked_out").sum() == 1
