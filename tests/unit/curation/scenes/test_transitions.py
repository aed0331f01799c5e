"""Dissolves and fades of generated films are found, and what only resembles them is not."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import SceneSettings, find_boundaries
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.curation.scenes.transitions import Transition, TransitionFinder
from opensora.media.encode import write_video
from opensora.media.probe import probe

from .films import Joint, film, scene

FPS = 25


def find(frames: np.ndarray, fps: float = FPS) -> list[Transition]:
    finder = TransitionFinder(fps)
    for frame in frames:
        finder.add(frame)
    return finder.finish()


def two_scenes(seed: int, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return scene(rng, num_frames), scene(rng, num_frames)


def joined(first: np.ndarray, second: np.ndarray, length: int) -> np.ndarray:
    """A dissolve of `length` frames in the middle of two scenes; uint8."""
    share = np.clip((np.arange(len(first)) - len(first) / 2) / length + 0.5, 0, 1)
    share = share[:, None, None, None]
    return ((1 - share) * first + share * second).round().astype(np.uint8)


@pytest.mark.parametrize(("fps", "length"), [(12, 8), (25, 20), (30, 40), (60, 60)])
def test_a_dissolve_is_found_where_it_is(fps: int, length: int) -> None:
    first, second = two_scenes(6, 4 * fps)
    found = find(joined(first, second, length), fps)
    assert len(found) == 1
    begin, end = 2 * fps - length / 2, 2 * fps + length / 2
    tolerance = 3 * max(1, round(fps / 12.5))  # samples
    assert abs(found[0].first - begin) <= tolerance
    assert abs(found[0].last - end) <= tolerance


def test_a_fade_out_and_in_is_one_transition() -> None:
    first, second = two_scenes(5, 100)
    level = np.interp(np.arange(100), [30, 45, 55, 70], [1, 0, 0, 1])[:, None, None, None]
    frames = np.where(np.arange(100)[:, None, None, None] < 50, first, second) * level
    found = find(frames.astype(np.uint8))
    assert len(found) == 1
    assert abs(found[0].first - 30) <= 6
    assert abs(found[0].last - 70) <= 6


def dimming() -> np.ndarray:
    """A light that goes down to a half."""
    return two_scenes(6, 75)[0] * np.linspace(1, 0.5, 75)[:, None, None, None]


def cut() -> np.ndarray:
    first, second = two_scenes(7, 75)
    return np.concatenate([first, second])


def blurred() -> np.ndarray:
    """A lens that loses and finds its focus."""
    frames = two_scenes(8, 75)[0]
    widths = 0.1 + 6 * np.sin(np.linspace(0, np.pi, 75))
    return np.stack([cv2.GaussianBlur(f, (0, 0), w) for f, w in zip(frames, widths, strict=True)])


def entering() -> np.ndarray:
    """Something large that moves into an almost plain picture."""
    rng = np.random.default_rng(9)
    frames = np.full((60, 72, 128, 3), 90.0) + rng.normal(0, 2, (60, 72, 128, 3))
    texture = np.kron(rng.uniform(0, 255, (9, 8, 3)), np.ones((8, 8, 1)))  # [72, 64, 3]
    for t in range(60):
        width = min(64, t * 2)
        frames[t, :, :width] = texture[:, 64 - width :]
    return frames


@pytest.mark.parametrize("make", [dimming, cut, blurred, entering], ids=lambda make: make.__name__)
def test_what_is_no_transition_is_not_taken_for_one(make) -> None:  # type: ignore[no-untyped-def]
    assert find(np.clip(make(), 0, 255).astype(np.uint8)) == []


def test_camera_movement_is_no_transition() -> None:
    for seed in range(20, 30):
        assert find(two_scenes(seed, 100)[0].astype(np.uint8)) == []


def test_memory_is_bounded() -> None:
    finder = TransitionFinder(12.0)
    frame = np.zeros((36, 64, 3), np.uint8)
    for _ in range(500):
        finder.add(frame)
    assert len(finder._samples) == 31
    assert finder._contrasts.itemsize * len(finder._contrasts) == 2000


def matches(found: list[tuple[float, float]], truth: list[Joint]) -> Iterator[bool]:
    """For each joint whether a boundary of its own lies within it, give or take a frame."""
    free = [(first + last) / 2 for first, last in found]
    for joint in truth:
        hits = [place for place in free if joint.first - 1 <= place <= joint.last + 1]
        if hits:
            free.remove(hits[0])
        yield bool(hits)


def test_recall_and_precision_on_generated_films(tmp_path: Path) -> None:
    hits: list[bool] = []
    num_found = 0
    for seed in range(6):  # 6 films of 4 scenes
        fps = (12, 25, 15)[seed % 3]
        frames, truth = film(seed, num_scenes=4, fps=fps)
        path = tmp_path / f"{seed}.mp4"
        write_video(path, frames, fps, crf=(18, 23, 28, 33)[seed % 4])
        found = find_boundaries(probe(path), SceneSettings())
        spans = [(cut, cut) for cut in found.cuts]
        spans += [(t.first, t.last) for t in found.transitions]
        hits += matches(spans, truth)
        num_found += len(spans)
    assert len(hits) == 18
    assert sum(hits) / len(hits) >= 0.9
    assert sum(hits) / num_found >= 0.9


@pytest.mark.parametrize("mode", ["drop", "split", "off"])
def test_the_rows_of_a_dissolve_cover_the_video(tmp_path: Path, mode: str) -> None:
    first, second = two_scenes(4, 100)
    write_video(tmp_path / "a.mp4", joined(first, second, 24), 25)  # frames 38 to 62
    scenes = detect_scenes(ingest_videos([tmp_path / "a.mp4"]), SceneSettings(transitions=mode))
    spans = list(zip(scenes["start_frame"], scenes["end_frame"], strict=True))
    assert spans[0][0] == 0
    assert spans[-1][1] == 100
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    status = {"drop": ["ok", "transition", "ok"], "split": ["ok", "ok"], "off": ["ok"]}[mode]
    assert list(scenes["status"]) == status
    if mode == "drop":
        assert spans[1][0] <= 40
        assert spans[1][1] >= 60
    if mode == "split":
        assert abs(spans[1][0] - 50) <= 4


def test_a_fade_at_the_end_of_a_video_cuts_nothing_off_the_middle(tmp_path: Path) -> None:
    frames = two_scenes(4, 75)[0]
    frames *= np.interp(np.arange(75), [0, 15, 55, 74], [0, 1, 1, 0])[:, None, None, None]
    write_video(tmp_path / "a.mp4", frames.astype(np.uint8), 25)
    video = ingest_videos([tmp_path / "a.mp4"])
    split = detect_scenes(video, SceneSettings(transitions="split"))
    assert list(split["end_frame"]) == [75]
    drop = detect_scenes(video)
    assert list(drop["status"]) == ["transition", "ok", "transition"]
    assert drop["end_frame"].iloc[-1] == 75
