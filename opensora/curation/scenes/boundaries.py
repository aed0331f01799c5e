"""Where the scenes of one video lie: PySceneDetect's detectors, dissolves and fades.

Source: https://www.scenedetect.com: HSV differences of neighbouring frames against a fixed
threshold (content) or a rolling average (adaptive), perceptual hashes, histograms of the luma, and
fades through black (threshold).
"""

import itertools
import logging
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detector import FlashFilter, SceneDetector
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from opensora.core.errors import ConfigError, VideoError, did_you_mean
from opensora.curation.scenes.transitions import Transition, TransitionFinder
from opensora.media.decode import iter_thumbnails
from opensora.media.probe import VideoInfo, probe
from opensora.media.timeline import timeline
from opensora.media.unchanged import check_unchanged
from opensora.tables.columns import OK

log = logging.getLogger(__name__)

ANALYSIS_PX = 256  # longer side of the frames that the detector sees
# PySceneDetect's own
DEFAULT_THRESHOLDS = {
    "adaptive": 3.0,
    "content": 27.0,
    "hash": 0.35,
    "histogram": 0.2,
    "threshold": 12.0,
}
WHOLE = "none"  # in place of a detector: each file is one scene
TRANSITIONS = ("drop", "split", "off")
_WINDOW = 2  # frames on either side that the adaptive detector averages over
_Seen = tuple[FrameTimecode, np.ndarray]
SLOWEST_DECODE = 1e7  # pixels a second that decoding and looking manage at least


@dataclass(frozen=True)
class SceneSettings:
    """How scenes are found.

    Attributes:
        detector: one of `DEFAULT_THRESHOLDS`, or `none`: each file is one scene and nothing is
            decoded.
        threshold: None takes the detector's default.
        min_scene_s: a scene between cuts that is shorter goes no further.
        transitions: `drop` makes a dissolve or fade a row of its own that goes no further, `split`
            cuts it in its middle, `off` does not look for any.
    """

    detector: str = "content"
    threshold: float | None = None
    min_scene_s: float = 0.5
    transitions: str = "drop"

    def __post_init__(self) -> None:
        """Refuse names that do not exist."""
        for option, value, known in (
            ("detector", self.detector, [*DEFAULT_THRESHOLDS, WHOLE]),
            ("transitions", self.transitions, list(TRANSITIONS)),
        ):
            if value not in known:
                hint = did_you_mean(value, known)
                raise ConfigError(f"--{option} {value!r}: expected one of {known}{hint}")
        if self.threshold is not None and self.detector == WHOLE:
            raise ConfigError(f"--threshold {self.threshold:g}: --detector none has none")
        if self.threshold is not None and not self.threshold > 0:
            raise ConfigError(f"--threshold {self.threshold:g}: expected more than 0")
        if not self.min_scene_s > 0:
            raise ConfigError(f"--min-scene-s {self.min_scene_s:g}: expected more than 0")


@dataclass(frozen=True)
class Boundaries:
    """What one pass over a video finds.

    Attributes:
        cuts: first frames of scenes, rising, none inside a transition.
        transitions: in order.
        num_frames: frames that could be decoded.
        fault: why the rest of the video could not.
    """

    cuts: list[int]
    transitions: list[Transition]
    num_frames: int
    fault: VideoError | None


def find_boundaries(info: VideoInfo, settings: SceneSettings) -> Boundaries:
    """Look for cuts and transitions in one pass; memory does not grow with the video.

    Raises:
        VideoError: not even the first frame can be decoded.
    """
    judge = _build_detector(settings)
    edges = EdgeCuts() if settings.detector == "adaptive" else None
    finder = TransitionFinder(float(info.fps)) if settings.transitions != "off" else None
    cuts: set[int] = set(timeline(info.path).breaks.tolist())  # there other footage begins
    num_frames = 0
    fault: VideoError | None = None
    try:
        for frame in iter_thumbnails(info.path, ANALYSIS_PX):
            position = FrameTimecode(num_frames, fps=info.fps)
            bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)  # uint8 [H, W, 3]
            cuts.update(cut.frame_num for cut in judge.process_frame(position, bgr))
            if edges:
                edges.add(position, bgr)
            if finder:
                finder.add(frame)
            num_frames += 1
            if num_frames == info.num_frames:
                break
    except VideoError as error:
        if num_frames == 0:
            raise
        fault = error
    if num_frames < info.num_frames and fault is None:
        counts = f"{num_frames} of {info.num_frames} frames"
        fault = VideoError("corrupt", f"{info.path.name}: only {counts} can be decoded")
    if num_frames:
        last = FrameTimecode(num_frames - 1, fps=info.fps)
        cuts.update(cut.frame_num for cut in judge.post_process(last))
    cuts |= edges.cuts() if edges else set()
    inside = sorted(cut for cut in cuts if 0 < cut < num_frames)
    transitions, hard = finder.finish() if finder else [], inside
    if finder:
        transitions = [_widened(transition, inside, finder.step) for transition in transitions]
        hard = [cut for cut in inside if not any(t.first <= cut <= t.last for t in transitions)]
    return Boundaries(hard, transitions, num_frames, fault)


def _widened(transition: Transition, cuts: list[int], reach: int) -> Transition:
    """A transition with the cuts beside it: where it begins and ends is known to a few frames."""
    near = [c for c in cuts if transition.first - reach <= c <= transition.last + reach]
    return Transition(min([transition.first, *near]), max([transition.last, *near]))


def scenes_of(video: dict[Any, Any], settings: SceneSettings) -> list[dict[str, Any]]:
    """Rows of SCENES for one row of VIDEOS; together they cover the whole video."""
    if video["status"] != OK:
        return [scene_row(video, video["status"], video["detail"])]
    if video["kind"] == "image":
        return [{**scene_row(video, OK, ""), "end_frame": 1}]
    try:
        check_unchanged(video["path"], video["sha256"])
        info = probe(video["path"])
        found = (
            Boundaries([], [], info.num_frames, None)
            if settings.detector == WHOLE
            else find_boundaries(info, settings)
        )
        ticks, tick_s = timeline(info.path).ticks()
    except VideoError as error:
        return [scene_row(video, error.reason, error.detail)]
    rows = []
    times = [_seconds(tick, tick_s) for tick in ticks]
    spans = _without_short(_spans(found, info, settings.transitions), times, settings.min_scene_s)
    for number, (first, last, status, detail) in enumerate(spans):
        row = scene_row(video, status, detail, number)
        row |= {"start": times[first], "end": times[last]}
        rows.append({**row, "start_frame": first, "end_frame": last})
    return rows


def scene_row(video: dict[Any, Any], status: str, detail: str, number: int = 0) -> dict[str, Any]:
    """One scene without frames yet."""
    return {
        "id": f"{video['id']}_{number:04d}",
        "video_id": video["id"],
        "path": video["path"],
        "kind": video["kind"],
        "sha256": video["sha256"],
        **{"start": 0.0, "end": 0.0, "start_frame": 0, "end_frame": 0},
        **{"status": status, "detail": detail},
    }


def scene_limit_s(video: dict[Any, Any], timeout_s: float) -> float:
    """Seconds that finding the scenes of a video may take."""
    pixels = float(video["num_frames"]) * float(video["resolution"])
    return timeout_s + pixels / SLOWEST_DECODE


Span = tuple[int, int, str, str]  # first frame, frame behind the last, status, detail


def _spans(found: Boundaries, info: VideoInfo, transitions: str) -> list[Span]:
    """All rows, in order."""
    edges = {0, found.num_frames, *found.cuts}
    lost: set[int] = set()  # first frames of what goes no further
    for transition in found.transitions:
        if transitions == "drop":
            edges |= {transition.first, transition.last}
            lost.add(transition.first)
        elif transition.first > 0 and transition.last < found.num_frames:
            edges.add((transition.first + transition.last) // 2)
    spans: list[Span] = []
    for first, last in itertools.pairwise(sorted(edges)):
        if first in lost:
            spans.append((first, last, "transition", "one scene flows into the next"))
        else:
            spans.append((first, last, OK, ""))
    if found.fault is not None:
        rest = (found.num_frames, info.num_frames, found.fault.reason, found.fault.detail)
        spans.append(rest)
    return spans


def _without_short(spans: list[Span], times: list[float], least_s: float) -> list[Span]:
    """Mark scenes between cuts that are too short; neighbours become one row.

    A video that is one scene is left to those who cut it into clips.
    """
    if len(spans) == 1:
        return spans
    kept: list[Span] = []
    for first, last, status, detail in spans:
        if status == OK and times[last] - times[first] < least_s:
            status, detail = "too_short", f"a scene of less than {least_s:g} s"
            if kept and kept[-1][2] == status:
                first = kept.pop()[0]
        kept.append((first, last, status, detail))
    return kept


def _seconds(tick: int, tick_s: Fraction) -> float:
    return round(float(int(tick) * tick_s), 6)


def _build_detector(settings: SceneSettings) -> SceneDetector:
    """The detector, telling every cut: of two that are close one would stay inside a scene."""
    name, threshold = settings.detector, settings.threshold
    if threshold is None:
        threshold = DEFAULT_THRESHOLDS[name]
    if name == "adaptive":
        return AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=1)
    if name == "hash":
        return HashDetector(threshold=threshold, min_scene_len=1)
    if name == "histogram":
        return HistogramDetector(threshold=threshold, min_scene_len=1)
    if name == "threshold":
        return ThresholdDetector(threshold=threshold, min_scene_len=1)
    return _content(threshold)


def _content(threshold: float) -> ContentDetector:
    # a length of 1 would already lose the cut at frame 1
    mode = FlashFilter.Mode.SUPPRESS
    return ContentDetector(threshold=threshold, min_scene_len=0, filter_mode=mode)


class EdgeCuts:
    """Cuts among the first and the last frames, where a rolling average has no frames around."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._first: list[_Seen] = []
        self._last: deque[_Seen] = deque(maxlen=_WINDOW + 1)

    def add(self, position: FrameTimecode, frame: np.ndarray) -> None:
        """Look at the next frame, uint8 [H, W, 3] BGR."""
        if len(self._first) <= _WINDOW:
            self._first.append((position, frame))
        self._last.append((position, frame))

    def cuts(self) -> set[int]:
        """First frames of scenes among them."""
        found: set[int] = set()
        for frames in (self._first, self._last):
            judge = _content(DEFAULT_THRESHOLDS["content"])
            for seen in frames:
                found.update(cut.frame_num for cut in judge.process_frame(*seen))
        return found
