from pathlib import Path

import numpy as np
import pytest
import torch

from opensora.curation.scores.match import MatchScorer
from opensora.curation.scores.scorer import ClipFrames
from opensora.models.clip_model import View, load_clip, storyboard
from tests.tiny_features import save_scorer_clip


def make_clip(folder: Path, view: View) -> Path:
    return Path(save_scorer_clip(folder / view, view))


@pytest.fixture
def clip_frames() -> ClipFrames:
    frames = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
    return ClipFrames(frames, np.arange(4), is_image=False, text="a red circle")


def test_frame_view_is_the_mean_cosine_over_frames(tmp_path: Path, clip_frames: ClipFrames) -> None:
    folder = make_clip(tmp_path, "frame")
    score = MatchScorer(str(folder)).score([clip_frames])["match"][0]
    model = load_clip(folder)
    text = model.encode_texts(["a red circle"])[0]
    cosines = [
        torch.cosine_similarity(model.encode_images(frame[None])[0], text, dim=0)
        for frame in clip_frames.frames
    ]
    assert score == pytest.approx(float(sum(cosines)) / 4, abs=1e-5)


def test_storyboard_view_is_one_cosine(tmp_path: Path, clip_frames: ClipFrames) -> None:
    folder = make_clip(tmp_path, "storyboard")
    score = MatchScorer(str(folder)).score([clip_frames])["match"][0]
    model = load_clip(folder)
    image = model.encode_images(storyboard(clip_frames.frames)[None])[0]
    text = model.encode_texts(["a red circle"])[0]
    assert score == pytest.approx(float(torch.cosine_similarity(image, text, dim=0)), abs=1e-5)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 16, 33])
def test_the_decoded_frames_give_the_storyboard_of_the_whole_clip(
    tmp_path: Path, num_frames: int
) -> None:
    frames = np.arange(num_frames, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    chosen = MatchScorer(str(make_clip(tmp_path, "storyboard"))).choose(num_frames)
    np.testing.assert_array_equal(storyboard(frames[chosen]), storyboard(frames))
