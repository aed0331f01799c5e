"""A dozen clips of a moving square, two stills, and their tables."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opensora.media.encode import write_video
from opensora.tables.columns import CAPTIONS, CLIPS
from opensora.tables.io import write_table

COLOURS = {"red": (220, 40, 40), "blue": (40, 70, 220)}
NUM_FRAMES = 4


@dataclass(frozen=True)
class SmallWorld:
    folder: Path
    clips: Path
    captions: Path


def draw(colour: str, direction: str, start: int, height: int, width: int) -> np.ndarray:
    frames = np.full((NUM_FRAMES, height, width, 3), 150, np.uint8)
    for t, frame in enumerate(frames):
        left = start + (3 * t if direction == "right" else 3 * (NUM_FRAMES - t))
        frame[8:20, left : left + 10] = COLOURS[colour]
    return frames


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    folder = tmp_path_factory.mktemp("small_world")
    rows = []
    for k in range(14):
        is_still = k >= 12
        colour, direction = list(COLOURS)[k % 2], ("left", "right")[k // 2 % 2]
        height, width = (24, 40) if k % 4 == 3 else (32, 32)
        frames = draw(colour, direction, k % 6, height, width)
        path = folder / f"clip_{k:02d}.{'png' if is_still else 'mp4'}"
        if is_still:
            Image.fromarray(frames[0]).save(path)
        else:
            write_video(path, frames, 8)
        rows.append(
            {
                "id": path.stem,
                "video_id": path.stem,
                "path": str(path),
                "kind": "image" if is_still else "video",
                "source": str(path),
                "start": 0.0,
                "end": 0.5,
                "num_frames": 1 if is_still else NUM_FRAMES,
                "fps": 1.0 if is_still else 8.0,
                "height": height,
                "width": width,
                "aspect_ratio": height / width,
                "resolution": height * width,
                "sha256": "",
                "status": "ok",
                "detail": "",
                "text": f"a {colour} square" + ("" if is_still else f" moving {direction}"),
            }
        )
    frame = pd.DataFrame(rows)
    frame["caption"] = frame["text"]
    frame["text_len"] = frame["text"].str.len()
    made = SmallWorld(folder, *(folder / f"{n}.csv" for n in ("clips", "captions")))
    write_table(frame[list(CLIPS.columns)], made.clips, CLIPS)
    write_table(frame[list(CAPTIONS.columns)], made.captions, CAPTIONS)
    return made
