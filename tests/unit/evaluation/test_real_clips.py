import numpy as np
import pandas as pd
import pytest
import torch

from opensora.core.errors import VideoError
from opensora.evaluation.real_clips import View, fitted, intervals, read_clip
from opensora.media.encode import write_video


def test_clips_are_seen_at_the_rate_of_the_samples(tmp_path):
    levels = np.arange(0, 240, 30, dtype=np.uint8)  # 8 frames at 24 fps
    write_video(
        tmp_path / "a.mp4", np.broadcast_to(levels[:, None, None, None], (8, 32, 32, 3)), 24
    )
    interval = int(intervals(pd.Series([24.0]), 8.0).iloc[0])
    view = View(num_frames=3, height=16, width=16, fps=8.0)
    row = {"path": str(tmp_path / "a.mp4"), "sha256": "", "_interval": interval}
    pixels = read_clip(row, view)
    assert pixels.shape == (3, 3, 16, 16)
    seen = (pixels.mean(dim=(0, 2, 3)) + 1) * 127.5  # frames 0, 3 and 6
    assert torch.allclose(seen, torch.tensor([0.0, 90.0, 180.0]), atol=3)
    with pytest.raises(VideoError, match=r"a\.mp4 changed since ingest"):
        read_clip({**row, "sha256": "0" * 64}, view)


@pytest.mark.parametrize(
    ("fps", "expected"), [(8.0, 1), (10.0, 1), (24.0, 3), (29.97, 4), (1.0, 1)]
)
def test_interval_is_the_nearest_whole_ratio(fps, expected):
    assert intervals(pd.Series([fps]), 8.0).tolist() == [expected]


@pytest.mark.parametrize(
    ("aspect_ratio", "expected"), [(1.0, (32, 32)), (0.6, (24, 40)), (1.67, (40, 24))]
)
def test_a_clip_keeps_its_aspect_ratio_at_the_pixels_of_the_samples(aspect_ratio, expected):
    view = View(num_frames=16, height=32, width=32, fps=8.0)
    found = fitted(view, aspect_ratio, (4, 4))
    assert (found.height, found.width) == expected
