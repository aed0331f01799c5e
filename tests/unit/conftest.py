"""Fixtures that several folders of unit tests share."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from opensora.core.io import sha256_file
from opensora.media.encode import write_video
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table
from tests.results_folder import age, make_results
from tests.tiny_encoders import save_clip, save_t5, save_vae

CLIP_FRAMES = 4
REFERENCE = Path(__file__).parents[1] / "data" / "reference"


@pytest.fixture(scope="session")
def reference() -> Any:
    """Read a JSON file of the reference's numbers by name."""

    def read(name: str) -> Any:
        return json.loads((REFERENCE / f"{name}.json").read_text())

    return read


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    return REFERENCE


@pytest.fixture(scope="session")
def video_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of four 24 x 24 frames and two single frames, a manifest, a VAE, a T5 and a CLIP.

    The networks are tiny and have random weights. No clip needs resizing or offers a choice of
    frames, so reading them ahead of training or during it gives the same pixels.
    """
    folder = tmp_path_factory.mktemp("video_world")
    rows = []
    for k in range(6):
        texture = np.random.default_rng(k).integers(0, 256, (24, 24 + CLIP_FRAMES, 3), np.uint8)
        count = CLIP_FRAMES if k < 4 else 1
        path = folder / f"clip{k}.mp4"
        write_video(path, np.stack([texture[:, t : t + 24] for t in range(count)]), 8, crf=10)
        row = {"id": f"clip{k}", "path": str(path), "text": f"box {k % 3} moves"}
        rows.append({**row, "num_frames": count, "sha256": sha256_file(path)})
    manifest = pd.DataFrame(rows).assign(
        width=24, height=24, aspect_ratio=1.0, resolution=576, text_len=3, fps=8.0, source="s",
        start=0.0, end=0.5, split="train",
    )  # fmt: skip
    write_table(manifest, folder / "manifest.csv", MANIFEST)
    save_vae(folder / "vae")
    save_t5(folder / "t5")
    save_clip(folder / "clip")
    return folder


@pytest.fixture(scope="session")
def made_results(video_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that share a store; see tests/results_folder.py. Copy it before you change it."""
    return make_results(tmp_path_factory.mktemp("results_world"), video_world)


@pytest.fixture
def results(made_results: Path, tmp_path: Path) -> Path:
    """A copy of it, all files two hours old."""
    copy = Path(shutil.copytree(made_results, tmp_path / "results"))
    age(copy, hours=2)
    return copy
