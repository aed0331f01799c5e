from dataclasses import replace

import cv2
import numpy as np
import pytest

from opensora.curation.scores.flow import FlowScorer
from opensora.curation.scores.scorer import ClipFrames


def sliding(step: int, size: int = 128, num_frames: int = 5, scale: int = 1) -> ClipFrames:
    """A smooth texture that moves `step` pixels a frame to the left."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (size, size + 64, 3), dtype=np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([texture[:, t * step : t * step + size] for t in range(num_frames)])
    frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    return ClipFrames(frames, np.arange(num_frames), is_image=False)


def flow(clip: ClipFrames) -> float:
    return float(FlowScorer().score([clip])["flow"][0])


@pytest.mark.parametrize("step", [1, 3])
def test_the_length_of_a_known_shift_is_found(step: int) -> None:
    assert flow(sliding(step)) == pytest.approx(step, rel=0.15)


def test_the_unit_does_not_depend_on_the_size_of_the_video() -> None:
    assert flow(sliding(2, scale=2)) == pytest.approx(flow(sliding(2)), rel=0.05)


def test_the_unit_does_not_depend_on_the_rate() -> None:
    """Pixels a second: 2 a frame at 24 frames a second, and 4 at 12, are the same motion."""
    fast, slow = replace(sliding(2), fps=24.0), replace(sliding(4), fps=12.0)
    assert flow(fast) == pytest.approx(48, rel=0.15)
    assert flow(slow) == pytest.approx(flow(fast), rel=0.1)
    assert flow(fast) == pytest.approx(24 * flow(sliding(2)), rel=1e-5)


def test_a_still_clip_does_not_move() -> None:
    assert flow(sliding(0)) < 0.01


def test_only_neighbouring_frames_are_compared() -> None:
    clip = sliding(2, num_frames=6)
    gap = ClipFrames(clip.frames[[0, 1, 4, 5]], np.array([0, 1, 4, 5]), is_image=False)
    assert flow(gap) == pytest.approx(2, rel=0.15)


def test_images_score_zero_and_one_frame_videos_nothing() -> None:
    frame = sliding(0, num_frames=1).frames
    assert flow(ClipFrames(frame, np.array([0]), is_image=True)) == 0.0
    assert np.isnan(flow(ClipFrames(frame, np.array([0]), is_image=False)))


def test_a_banner_is_not_blown_up() -> None:
    frames = np.zeros((2, 8, 4000, 3), np.uint8)
    assert flow(ClipFrames(frames, np.arange(2), is_image=False)) < 0.01
