"""Fixtures that several folders of tests share."""

from pathlib import Path

import numpy as np
import pytest

from opensora.media.encode import write_video

TINY_COLOURS = ((200, 40, 40), (40, 160, 60), (50, 60, 200))


def tiny_frames(height: int = 40, width: int = 64, scene_frames: int = 16) -> np.ndarray:
    """Three plain scenes with a white square that moves one pixel a frame to the right.

    Returns:
        uint8 [3 * scene_frames, height, width, 3]; cuts at scene_frames and 2 * scene_frames.
    """
    frames = np.zeros((3 * scene_frames, height, width, 3), np.uint8)
    for k, colour in enumerate(TINY_COLOURS):
        for t in range(scene_frames):
            frame = frames[k * scene_frames + t]
            frame[:] = colour
            frame[10:22, 8 + t : 20 + t] = 255
    return frames


@pytest.fixture(scope="session")
def tiny_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of `tiny_frames` at 8 frames a second: three scenes of two seconds."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.mp4"
    write_video(path, tiny_frames(), 8)
    return path
