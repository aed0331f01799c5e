import cv2
import numpy as np

from opensora.curation.scores.perceptual_hash import PerceptualHash
from opensora.curation.scores.scorer import ClipFrames
from opensora.curation.scores.technical import TechnicalScorer


def scene(seed: int) -> np.ndarray:
    """A smooth random picture, uint8 [96, 128, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return cv2.resize(small, (128, 96), interpolation=cv2.INTER_CUBIC)


def hash_of(*frames: np.ndarray) -> str:
    clip = ClipFrames(np.stack(frames), np.arange(len(frames)), len(frames) == 1)
    return str(PerceptualHash().score([clip])["phash"][0])


def distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def test_a_resized_brighter_noisier_copy_is_near_and_another_scene_far() -> None:
    original = scene(1)
    noise = np.random.default_rng(5).normal(0, 4, original.shape)
    copy = np.clip(original.astype(float) + 6 + noise, 0, 255).astype(np.uint8)
    copy = cv2.resize(copy, (80, 60), interpolation=cv2.INTER_AREA)
    assert distance(hash_of(original), hash_of(copy)) <= 12
    assert distance(hash_of(original), hash_of(scene(2))) > 60


def test_equal_luma_in_other_colours_is_another_clip() -> None:
    original = scene(3)
    swapped = original[..., ::-1]
    assert distance(hash_of(original), hash_of(swapped)) > 20


def test_a_still_equals_its_video_and_blank_clips_have_no_hash() -> None:
    frame = scene(4)
    assert hash_of(frame) == hash_of(frame, frame, frame)
    assert len(hash_of(frame)) * 4 == 3 * (
        8**2 + 2 * 4**2
    )  # frames, cells of brightness and of two colours
    assert hash_of(np.full((40, 60, 3), 17, np.uint8)) == ""


def test_its_frames_are_spread_and_among_those_that_other_scorers_decode() -> None:
    assert PerceptualHash().choose(1) == [0]
    assert PerceptualHash().choose(2) == [0, 1]
    for num_frames in (3, 16, 17, 46, 250, 9001):
        chosen = PerceptualHash().choose(num_frames)
        assert set(chosen) <= set(TechnicalScorer().choose(num_frames))
        assert len(chosen) == 3
        for frame, part in zip(chosen, (1, 3, 5), strict=True):
            assert abs(frame - part * num_frames / 6) <= num_frames / 16 + 1
