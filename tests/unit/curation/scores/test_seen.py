"""Scorers see luma as it is stored, and their answers are what they were over RGB."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opensora.config.registry import SCORERS, build_module
from opensora.curation.scores import score_clips as module
from opensora.curation.scores.scorer import ClipFrames, spread_pairs
from opensora.curation.scores.seen import GREY_SIDE_PX, Seen, read_seen
from opensora.media import decode
from opensora.media.decode import read_frames
from opensora.media.encode import write_video
from opensora.tables.columns import CLIPS

FRAMES, SIZE = 24, (96, 160)
SPEEDS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)  # pixels a frame; with them the picture gets blurred


def film(path: Path, speed: float, blur: float) -> Path:
    """Coloured noise that slides to the left."""
    height, width = SIZE
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height, width + FRAMES * 3, 3), dtype=np.uint8)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), blur), None, 20, 235, cv2.NORM_MINMAX)
    frames = []
    for t in range(FRAMES):
        shift = np.array([[1, 0, -t * speed], [0, 1, 0]], np.float32)
        frames.append(cv2.warpAffine(smooth, shift, (width, height)))
    write_video(path, np.stack(frames), 24, crf=10)
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("seen")
    return [film(folder / f"{k}.mp4", speed, 1.5 + 0.4 * k) for k, speed in enumerate(SPEEDS)]


def scored(films: list[Path], name: str, column: str) -> np.ndarray:
    scorer = build_module({"type": name}, SCORERS)
    indices = scorer.choose(FRAMES)
    clips = [ClipFrames(read_seen(path, indices), np.array(indices), False) for path in films]
    return scorer.score(clips)[column].astype(float)


def over_rgb(films: list[Path], measure: Callable[[np.ndarray, list[int]], float]) -> np.ndarray:
    """A measure of each film by its frames in RGB, all sixteen of eight pairs."""
    indices = spread_pairs(FRAMES, 8)
    return np.array([measure(read_frames(path, indices), indices) for path in films])


def grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def medium_flow(frames: np.ndarray, indices: list[int]) -> float:
    """The measure of version 2: DIS at its preset `medium`."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    small = [cv2.resize(grey(f), (213, 128), interpolation=cv2.INTER_LINEAR) for f in frames]
    pairs = [k for k in range(len(indices) - 1) if indices[k + 1] == indices[k] + 1]
    flows = [dis.calc(small[k], small[k + 1], None) for k in pairs]
    return float(np.mean([np.linalg.norm(flow, axis=-1).mean() for flow in flows]))


def variance(frames: np.ndarray, indices: list[int]) -> float:
    """The measure of version 4: the median over all frames, of luma that RGB gives."""
    lumas = [grey(frame).astype(np.float32) for frame in frames]
    return float(np.median([cv2.Laplacian(luma, cv2.CV_32F, ksize=1).var() for luma in lumas]))


def test_flow_is_within_a_tenth_of_the_slow_preset_and_keeps_the_order(films: list[Path]) -> None:
    found, expected = scored(films, "flow", "flow"), over_rgb(films, medium_flow)
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.05)
    assert list(np.argsort(found)) == list(np.argsort(expected)) == list(range(len(SPEEDS)))


def test_sharpness_and_brightness_are_those_of_rgb(films: list[Path]) -> None:
    found, expected = scored(films, "technical", "sharpness"), over_rgb(films, variance)
    np.testing.assert_allclose(found, expected, rtol=0.15)  # BT.709 weighs colours otherwise
    assert np.corrcoef(found, expected)[0, 1] > 0.995
    means = over_rgb(films, lambda frames, _: float(np.mean([grey(f).mean() for f in frames])))
    np.testing.assert_allclose(scored(films, "technical", "brightness"), means, atol=4)


def test_the_luma_of_a_grey_film_is_that_of_its_pixels(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (48, 1, 3))
    write_video(tmp_path / "ramp.mp4", np.stack([ramp, ramp]), 8, crf=0)
    seen = read_seen(tmp_path / "ramp.mp4", [1])[0]
    assert seen.grey.shape == seen.rgb.shape[:2] == (48, 64)
    assert np.abs(seen.grey.astype(int) - grey(seen.rgb)).max() <= 1
    assert (seen.grey.min(), seen.grey.max()) == (0, 255)


def test_large_frames_are_shrunk_once_and_pictures_are_seen_too(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    seen = read_seen(tmp_path / "a.png", [0])[0]
    assert seen.grey.shape == (GREY_SIDE_PX, 384)
    assert seen.grey is seen.grey
    np.testing.assert_array_equal(seen.rgb, pixels)
    assert Seen(pixels[:9, :9]).grey.shape == (9, 9)


def test_scores_of_luma_convert_no_frame_of_a_moving_film(
    films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[int] = []
    plain = decode.to_rgb

    def count(frame, size=None):
        converted.append(1)
        return plain(frame, size)

    monkeypatch.setattr(decode, "to_rgb", count)
    row = {"id": "a", "video_id": "a", "path": str(films[-1]), "kind": "video", "source": ""}
    row |= {"start": 0.0, "end": 1.0, "num_frames": FRAMES, "fps": 24.0, "sha256": ""}
    row |= {"height": SIZE[0], "width": SIZE[1], "aspect_ratio": 0.6, "resolution": 15360}
    clips = pd.DataFrame([row | {"status": "ok", "detail": ""}])[list(CLIPS.columns)]
    names = ("technical", "flow", "camera")
    tables = module.score_clips(clips, {n: build_module({"type": n}, SCORERS) for n in names})
    assert [table["status"][0] for table in tables.values()] == ["ok"] * 3
    assert converted == []
    module.score_clips(clips, {"phash": build_module({"type": "phash"}, SCORERS)})
    assert len(converted) == 3
