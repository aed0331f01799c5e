import numpy as np
import pytest

from opensora.curation.scores.scorer import ClipFrames, spread, spread_pairs
from opensora.curation.scores.technical import TechnicalScorer


def judge(frames: np.ndarray, is_image: bool = False) -> dict[str, float]:
    clip = ClipFrames(frames, np.arange(len(frames)), is_image)
    return {name: float(value[0]) for name, value in TechnicalScorer().score([clip]).items()}


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    column = np.zeros((32, 32, 3), np.uint8)
    column[:, 16] = 100
    scores = judge(column[None].repeat(2, axis=0))
    # a row of the Laplacian is ..., 0, 100, -200, 100, 0, ...: mean 0, 60000 / 32 squared
    assert scores["sharpness"] == pytest.approx(60000 / 32, rel=1e-4)


def test_brightness_black_and_frozen_are_shares() -> None:
    noise = np.random.default_rng(0).integers(100, 200, (1, 32, 32, 3), dtype=np.uint8)
    frames = np.concatenate([np.zeros((3, 32, 32, 3), np.uint8), noise, noise])
    scores = judge(frames)  # black, black, black, noise, the same noise
    assert scores["black_ratio"] == pytest.approx(3 / 5)
    assert scores["frozen_ratio"] == pytest.approx(3 / 4)
    white = np.full((2, 8, 8, 3), 255, np.uint8)
    assert judge(white)["brightness"] == 255.0


def test_a_moving_square_is_not_frozen() -> None:
    frames = np.full((4, 64, 64, 3), 128, np.uint8)
    for t in range(4):
        frames[t, 20:30, 10 + t : 20 + t] = 255
    assert judge(frames)["frozen_ratio"] == 0.0


def test_an_object_of_the_same_luma_as_its_ground_is_seen_moving() -> None:
    frames = np.full((4, 64, 64, 3), 91, np.uint8)
    for t in range(4):
        frames[t, 20:40, 10 + 4 * t : 30 + 4 * t] = (34, 96, 221)  # .299 R + .587 G + .114 B = 91.7
    assert judge(frames)["frozen_ratio"] == 0.0


def test_images_have_no_frozen_frames_and_one_frame_videos_no_answer() -> None:
    frame = np.full((1, 8, 8, 3), 128, np.uint8)
    assert judge(frame, is_image=True)["frozen_ratio"] == 0.0
    assert np.isnan(judge(frame)["frozen_ratio"])


def test_sharpness_hardly_depends_on_the_size_of_the_video() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    large = small.repeat(4, axis=1).repeat(4, axis=2)
    assert judge(large, is_image=True)["sharpness"] == pytest.approx(
        judge(small, is_image=True)["sharpness"], rel=0.01
    )


def test_frames_are_spread_evenly() -> None:
    assert spread(100, 4) == [12, 37, 62, 87]
    assert spread(2, 4) == [0, 1]
    assert spread_pairs(100, 2) == [24, 25, 74, 75]
    assert spread_pairs(3, 8) == [0, 1, 2]
    assert spread_pairs(1, 8) == [0]


def test_letterbox_is_the_area_of_bars_that_all_frames_have() -> None:
    frames = np.random.default_rng(0).integers(60, 200, (3, 40, 80, 3), dtype=np.uint8)
    assert judge(frames)["letterbox"] == 0.0
    frames[:, :5] = 10
    frames[:, 35:] = 10
    frames[:2, :, :8] = 0  # dark in two of three frames only
    assert judge(frames)["letterbox"] == pytest.approx(10 / 40)
    assert judge(np.zeros_like(frames))["letterbox"] == 0.0


def test_clipped_pixels_are_black_or_white() -> None:
    frames = np.full((2, 20, 20, 3), 128, np.uint8)
    frames[:, :5] = 0
    frames[:, 5:6] = 255
    assert judge(frames)["clipped_ratio"] == pytest.approx(6 / 20)


def test_blockiness_is_one_without_a_grid_and_rises_with_it() -> None:
    smooth = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 3, (2, 64, 1, 3))
    assert judge(smooth)["blockiness"] == pytest.approx(1.0, abs=1e-6)
    blocks = (smooth // 24) * 24  # steps of 24 across every eighth column, flat between
    # along x: (24 + 0) / 2 on the grid, 0 elsewhere; along y there are no steps
    assert judge(blocks)["blockiness"] == pytest.approx((12 + 0.1) / 0.1)
    shifted = np.roll(blocks, 3, axis=2)  # the same steps beside the grid
    assert judge(shifted)["blockiness"] < 1.0
