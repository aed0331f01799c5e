"""The benchmark of the online loader reads what the loader reads, and says so in one line."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opensora.bench import online_loader
from opensora.bench.online_loader import Window, bench_online_loader, decode_needed
from opensora.core.errors import TableError
from opensora.media.decode import read_frames
from opensora.media.encode import write_video

NUM_CLIPS, FRAMES = 3, 24


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    rows = []
    for k in range(NUM_CLIPS):
        texture = np.random.default_rng(k).integers(0, 256, (48, 64 + FRAMES, 3), np.uint8)
        path = folder / f"{k}.mp4"
        write_video(path, np.stack([texture[:, t : t + 64] for t in range(FRAMES)]), 24)
        row = {"id": f"c{k}", "path": str(path), "text": "a box", "num_frames": FRAMES}
        rows.append({**row, "height": 48, "width": 64, "fps": 24.0})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def test_both_sides_decode_the_same_frames(manifest, monkeypatch):
    windows: list[Window] = []
    read: dict[str, list[int]] = {}
    iter_wanted = online_loader.VideoTextDataset.__getitem__.__globals__["iter_wanted"]

    def spy(path, frames):
        read[str(path)] = list(map(int, frames))
        return iter_wanted(path, frames)

    def keep(window: Window) -> list[np.ndarray]:
        windows.append(window)
        return decode_needed(window)

    monkeypatch.setattr("opensora.datasets.online.iter_wanted", spy)
    monkeypatch.setattr(online_loader, "decode_needed", keep)
    bench_online_loader(manifest, num_frames=4, frame_interval=3, image_size=(32, 32), batch_size=3)
    assert len({window.path for window in windows}) == len(read) == NUM_CLIPS
    for window in windows[:NUM_CLIPS]:
        expected = read_frames(window.path, read[str(window.path)])
        assert np.array_equal(np.stack(decode_needed(window)), expected)


def test_one_line_tells_the_ratio_and_what_was_measured(manifest):
    line = bench_online_loader(
        manifest, num_frames=4, frame_interval=2, image_size=(32, 32), batch_size=2
    )
    found = re.match(r"online loader ([\d.]+) times decoding just the needed frames, (\w+)", line)
    assert found
    assert (float(found[1]) <= online_loader.GOAL) == (found[2] == "within")
    assert "2 clips of 4 frames at interval 2 to 32x32" in line
    assert "\n" not in line


def test_clips_that_are_too_short_are_refused(manifest):
    with pytest.raises(TableError, match="0 clips have 48 frames; a batch needs 2"):
        bench_online_loader(manifest, num_frames=16, frame_interval=3, batch_size=2)
