from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from opensora.buckets.bucket import assign_buckets
from opensora.media.encode import write_video
from opensora.plans.compile import BatchPlan, compile_plan, write_plan
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table

BUCKETS = {"24px": {4: (1.0, 2), 1: (1.0, 1)}}


class World(NamedTuple):
    manifest: pd.DataFrame
    plan: BatchPlan
    folder: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Six 6-frame clips and two images, smooth enough to survive H.264, with a batch plan."""
    folder = tmp_path_factory.mktemp("world")
    y, x = np.mgrid[0:48, 0:48] / 48
    rows = []
    for k in range(8):
        frames = 1 if k >= 6 else 6
        value = 0.5 + 0.4 * np.sin(3 * x + 2 * y + k + np.arange(frames)[:, None, None] / 3)
        pixels = (np.stack([value, value[..., ::-1], 1 - value], axis=-1) * 255).astype(np.uint8)
        path = folder / f"clip{k}.mp4"
        write_video(path, pixels, 8)
        rows.append(
            {"id": f"c{k}", "path": str(path), "text": f"text {k % 3}", "num_frames": frames}
        )
    manifest = pd.DataFrame(rows).assign(
        width=48, height=48, aspect_ratio=1.0, resolution=2304, text_len=2, fps=8.0, source="s",
        start=0.0, end=1.0, sha256=[f"hash{k}" for k in range(8)], split="train",
    )  # fmt: skip
    write_table(manifest, folder / "manifest.csv", MANIFEST)
    assignment = assign_buckets(manifest, BUCKETS, seed=0)
    plan = compile_plan([assignment], BUCKETS, seed=0, epochs=1)
    write_plan(plan, folder / "plan.parquet", frame_interval=1)
    return World(manifest, BatchPlan(folder / "plan.parquet"), folder)
