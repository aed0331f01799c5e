"""Scenes: find the cuts of each video with PySceneDetect.

Source: https://www.scenedetect.com, ContentDetector and AdaptiveDetector (HSV differences of
neighbouring frames against a fixed threshold, or against a rolling average).
"""

import itertools
import logging
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from scenedetect import FrameTimecode
from scenedetect.detector import FlashFilter, SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from opensora.core.errors import ConfigError, VideoError
from opensora.core.logging import progress
from opensora.media.decode import iter_frames
from opensora.media.probe import VideoInfo, probe
from opensora.tables.columns import OK, SCENES

log = logging.getLogger(__name__)

ANALYSIS_PX = 256  # longer side of the frames that the detector sees
DEFAULT_THRESHOLDS = {"content": 27.0, "adaptive": 3.0}  # PySceneDetect's own


def detect_scenes(
    videos: pd.DataFrame,
    *,
    detector: str = "content",
    threshold: float | None = None,
    min_scene_s: float = 0.5,
) -> pd.DataFrame:
    """Cut every good video of a VIDEOS table into scenes.

    Args:
        videos: a VIDEOS table; rows that are not ok are carried through as one marked scene.
        detector: `content` (fixed threshold) or `adaptive` (threshold relative to the motion
            around the frame, for shaky footage).
        threshold: None takes the detector's default.
        min_scene_s: no cut follows another within this many seconds.

    Returns:
        A SCENES table; at least one row per video, in its order. The scenes of a video cover
        all its frames: `start_frame` to `end_frame`, half-open.

    Raises:
        ConfigError: unknown detector.
    """
    if detector not in DEFAULT_THRESHOLDS:
        raise ConfigError(f"detector {detector!r}: expected one of {list(DEFAULT_THRESHOLDS)}")
    limit = DEFAULT_THRESHOLDS[detector] if threshold is None else threshold
    rows: list[dict[str, Any]] = []
    records = videos.to_dict("records")
    for video in progress(records, description="detect_scenes"):
        rows.extend(_scenes_of(video, detector, limit, min_scene_s))
    return pd.DataFrame(rows, columns=list(SCENES.columns))


def find_cuts(
    info: VideoInfo, detector: str, threshold: float, min_scene_s: float
) -> tuple[list[int], int]:
    """Run a detector over one video.

    Returns:
        First frames of all scenes but the first, ascending; and the number of frames decoded.

    Raises:
        VideoError: the video can not be decoded.
    """
    min_frames = max(1, round(min_scene_s * float(info.fps)))
    judge = _build_detector(detector, threshold, min_frames)
    cuts: set[int] = set()
    num_frames = 0
    for frame in iter_frames(info.path, size=_analysis_size(info.height, info.width)):
        position = FrameTimecode(num_frames, fps=info.fps)
        bgr = np.ascontiguousarray(frame[..., ::-1])  # uint8 [H, W, 3]
        cuts.update(cut.frame_num for cut in judge.process_frame(position, bgr))
        num_frames += 1
    if num_frames:
        last = FrameTimecode(num_frames - 1, fps=info.fps)
        cuts.update(cut.frame_num for cut in judge.post_process(last))
    return sorted(cut for cut in cuts if 0 < cut < num_frames), num_frames


def _build_detector(detector: str, threshold: float, min_frames: int) -> SceneDetector:
    if detector == "adaptive":
        return AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=min_frames)
    # SUPPRESS reports a cut at once; MERGE would lose one shortly before the end of a video
    mode = FlashFilter.Mode.SUPPRESS
    return ContentDetector(threshold=threshold, min_scene_len=min_frames, filter_mode=mode)


def _scenes_of(
    video: dict[Any, Any], detector: str, threshold: float, min_scene_s: float
) -> list[dict[str, Any]]:
    """Rows of SCENES for one row of VIDEOS."""
    if video["status"] != OK:
        return [_row(video, 0, (0, 0), Fraction(1), video["status"], video["detail"])]
    if video["kind"] == "image":
        return [_row(video, 0, (0, 1), Fraction(0), OK, "")]
    try:
        info = probe(video["path"])
        cuts, num_frames = find_cuts(info, detector, threshold, min_scene_s)
    except VideoError as error:
        log.warning("detect_scenes video marked id=%s status=%s", video["id"], error.reason)
        return [_row(video, 0, (0, 0), Fraction(1), error.reason, error.detail)]
    edges = [0, *cuts, num_frames]
    return [
        _row(video, k, span, info.fps, OK, "") for k, span in enumerate(itertools.pairwise(edges))
    ]


def _row(
    video: dict[Any, Any],
    number: int,
    span: tuple[int, int],
    fps: Fraction,
    status: str,
    detail: str,
) -> dict[str, Any]:
    """One scene; `fps` 0 is an image, whose only frame has no length in time."""
    start, end = (round(float(frame / fps), 6) if fps else 0.0 for frame in span)
    return {
        "id": f"{video['id']}_{number:04d}",
        "video_id": video["id"],
        "path": video["path"],
        "kind": video["kind"],
        "start": start,
        "end": end,
        "start_frame": span[0],
        "end_frame": span[1],
        "status": status,
        "detail": detail,
    }


def _analysis_size(height: int, width: int) -> tuple[int, int]:
    """Size (H, W) with the longer side at most ANALYSIS_PX; never larger than the video."""
    scale = min(1.0, ANALYSIS_PX / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
