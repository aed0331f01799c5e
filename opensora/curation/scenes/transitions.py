"""Dissolves and fades: scenes that flow into each other instead of being cut.

In a dissolve from A to B the frame at time a in [0, 1] is (1 - a) A + a B. For scenes that have
nothing to do with each other, variances add: contrast and edges follow (1 - a)^2 A + a^2 B, a
valley of half the depth, whatever moves in either scene. A fade is the same with a plain B. No
camera movement, cut or passing object does this in the whole picture at once.

Source: the parabola of the variance, A. M. Alattar, "Detecting and compressing dissolve regions in
video sequences with a DVI multimedia image compression algorithm", ISCAS 1993; here also of the
edges (as in R. Lienhart, "Comparison of automatic shot boundary detection algorithms", 1999), in
the whole picture and in its parts.
"""

import math
from array import array
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

SAMPLES_PER_S = 12.5  # frames looked at in a second of video
LENGTHS = (3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30)  # samples: transitions of 0.24 to 2.4 seconds
MIN_CHANGE = 12.0  # grey levels (root mean square) between the pictures at both ends
MAX_DEPARTURE = 0.125  # mean distance from the parabolas, relative to the mean of both ends
MAX_LIKENESS = 0.6  # correlation of the pictures at both ends; a scene that loses focus keeps it
MAX_STEP = 0.5  # largest part of the change between two samples; a cut makes it all at once
PLAIN = 25.0  # variance (grey levels squared) below which a picture shows nothing

_LEFT = 0.1  # part of the contrast that may be left where a picture has all but gone
_KEPT = LENGTHS[-1] + 1  # samples in memory
_VALLEY = 0.35  # largest distance of the contrast in the middle, relative to the mean of both ends
_THUMB = (64, 36)  # (width, height) of the picture whose contrast and edges are measured
_LAYOUT = (16, 9)  # of the picture whose change is measured
_PARTS = (4, 3)  # of the picture in which edges are measured one by one


@dataclass(frozen=True)
class Transition:
    """Frames [first, last) in which one scene flows into the next."""

    first: int
    last: int


@dataclass(frozen=True)
class _Sample:
    """What is kept of a frame.

    Attributes:
        layout: float32 [L], a tiny colour picture.
        contrast: variance over the picture, mean of the channels.
        edges: energy of the gradient, mean over the picture.
        parts: float32 [P], the same in parts of the picture.
    """

    layout: np.ndarray
    contrast: float
    edges: float
    parts: np.ndarray


class TransitionFinder:
    """Takes the frames of a video one by one; memory does not grow with them but for 4 bytes."""

    def __init__(self, fps: float) -> None:
        """Take every frame of a slow video, fewer of a fast one."""
        self._step = max(1, round(fps / SAMPLES_PER_S))
        self._num_frames = 0
        self._samples: deque[_Sample] = deque(maxlen=_KEPT)
        self._layouts = np.zeros((_KEPT, _LAYOUT[0] * _LAYOUT[1] * 3), dtype=np.float32)
        self._contrasts = array("f")  # of all samples
        self._candidates: list[tuple[float, int, int]] = []  # departure, first and last sample

    @property
    def step(self) -> int:
        """Frames from one sample to the next: what is found is this exact."""
        return self._step

    def add(self, frame: np.ndarray) -> None:
        """Look at the next frame, uint8 [H, W, 3]."""
        if self._num_frames % self._step == 0:
            sample = _sample(frame)
            self._layouts[len(self._contrasts) % _KEPT] = sample.layout
            self._samples.append(sample)
            self._contrasts.append(sample.contrast)
            self._judge()
        self._num_frames += 1

    def finish(self) -> list[Transition]:
        """Return the transitions, in order, none overlapping another."""
        kept: list[tuple[float, int, int]] = []
        for candidate in sorted(self._candidates):  # the best first
            _, first, last = candidate
            if all(last <= other[1] or first >= other[2] for other in kept):
                kept.append(candidate)
        spans: list[tuple[int, int]] = []
        for _, first, last in sorted(kept, key=lambda candidate: candidate[1]):
            if spans and self._fades(*spans[-1], first, last):
                spans[-1] = (spans[-1][0], last)
            else:
                spans.append((first, last))
        newest = len(self._contrasts) - 1
        return [
            Transition(first * self._step, last * self._step if last < newest else self._num_frames)
            for first, last in spans
        ]

    def _fades(self, start: int, out: int, back: int, end: int) -> bool:
        """Whether two spans are one: out to black (or white), and in again."""
        shown = max(self._contrasts[start], self._contrasts[end])
        return max(self._contrasts[out : back + 1]) < max(PLAIN, _LEFT * shown)

    def _judge(self) -> None:
        """Test the windows of all lengths that end with the newest sample."""
        newest = len(self._contrasts) - 1
        lengths = np.array([length for length in LENGTHS if length <= newest], dtype=int)
        if not lengths.size:
            return
        ends = self._layouts[(newest - lengths) % _KEPT]  # [W, L]
        changes = np.sqrt(np.square(ends - self._layouts[newest % _KEPT]).mean(axis=1))
        for length, change in zip(lengths.tolist(), changes.tolist(), strict=True):
            first = newest - length
            if change < MIN_CHANGE or not self._has_valley(first, newest):
                continue
            window = [self._samples[k] for k in range(-1 - length, 0)]
            departure = _departure(window, change)
            if departure < MAX_DEPARTURE:
                self._candidates.append((departure, first, newest))

    def _has_valley(self, first: int, last: int) -> bool:
        """Whether the contrast in the middle is near a quarter of the sum; for speed."""
        middle = self._contrasts[(first + last) // 2]
        around = self._contrasts[first] + self._contrasts[last] + 1e-3
        return abs(middle - around / 4) < _VALLEY * around / 2


def _sample(frame: np.ndarray) -> _Sample:
    thumb = cv2.resize(frame, _THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)  # [h, w, 3]
    gradient = np.zeros(thumb.shape[:2], dtype=np.float32)
    gradient[:, :-1] += np.square(np.diff(thumb, axis=1)).mean(axis=-1)
    gradient[:-1] += np.square(np.diff(thumb, axis=0)).mean(axis=-1)
    return _Sample(
        layout=cv2.resize(thumb, _LAYOUT, interpolation=cv2.INTER_AREA).reshape(-1),
        contrast=float(thumb.reshape(-1, 3).var(axis=0).mean()),
        edges=float(gradient.mean()),
        parts=cv2.resize(gradient, _PARTS, interpolation=cv2.INTER_AREA).reshape(-1),
    )


def _departure(window: list[_Sample], change: float) -> float:
    """How far a window is from a dissolve between its ends; infinite where it can not be one."""
    place = np.linspace(0.0, 1.0, len(window))
    contrast = np.array([sample.contrast for sample in window])
    of_contrast = _from_parabola(contrast, place)
    if of_contrast > 4 * MAX_DEPARTURE:  # the mean of four can not be below the limit
        return math.inf
    both_shown = min(contrast[0], contrast[-1]) > _LEFT * max(contrast[0], contrast[-1])
    if both_shown and _likeness(window) > MAX_LIKENESS:
        return math.inf
    layouts = np.stack([sample.layout for sample in window])  # [T, L]
    steps = np.sqrt(np.square(np.diff(layouts, axis=0)).mean(axis=1))
    if steps.max() > MAX_STEP * change:
        return math.inf
    edges = np.array([sample.edges for sample in window])
    parts = np.stack([sample.parts for sample in window])  # [T, P]
    expected = np.outer((1 - place) ** 2, parts[0]) + np.outer(place**2, parts[-1])
    mean = (parts[0] + parts[-1]).mean() / 2 + 1e-3
    of_parts = float(np.abs(parts - expected).mean() / mean)
    direction = layouts[-1] - layouts[0]
    progress = (layouts - layouts[0]) @ direction / (direction @ direction)
    of_progress = float(np.abs(progress - place).mean())
    return (of_contrast + _from_parabola(edges, place) + of_parts + of_progress) / 4


def _likeness(window: list[_Sample]) -> float:
    """Correlation of the first picture with the last, whatever their colour and brightness."""
    first, last = (sample.layout.reshape(-1, 3) for sample in (window[0], window[-1]))
    first, last = first - first.mean(axis=0), last - last.mean(axis=0)
    return float((first * last).sum() / (np.linalg.norm(first) * np.linalg.norm(last) + 1e-3))


def _from_parabola(values: np.ndarray, place: np.ndarray) -> float:
    """Root mean square distance from (1 - a)^2 first + a^2 last, relative to their mean."""
    first, last = values[0], values[-1]
    expected = (1 - place) ** 2 * first + place**2 * last
    return _rms((values - expected) / ((first + last) / 2 + 1e-3))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))
