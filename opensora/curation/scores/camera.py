"""Camera motion: static, pan, tilt, zoom or roll, from the motion of the whole picture.

Corners are tracked from frame to frame (Lucas and Kanade 1981, pyramidal as in OpenCV) and a
similarity transform is fitted by RANSAC; the background outvotes what moves in front of it.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from opensora.config.registry import SCORERS
from opensora.curation.scores.scorer import ClipFrames, Scorer, Scores, spread, spread_pairs
from opensora.curation.scores.seen import GREY_SIDE_PX, Seen

NUM_PAIRS = 8  # looked for: those that other scorers decode too
USED_PAIRS = 4  # of them: the motion of a camera is steady
SHORT_SIDE_PX = GREY_SIDE_PX
MAX_CORNERS = 120
CORNER_DISTANCE_PX = 8
WINDOW_PX = 15  # around a corner
MIN_CORNERS = 12
MIN_INLIERS = 0.5  # of the tracked corners; fewer and there is no common motion
MIN_SHIFT = 0.0015  # of the short side per frame: 4 % of the picture a second at 24 fps
MIN_ZOOM = 0.0015  # change of scale per frame
MIN_ROLL = 0.0015  # radians per frame


@SCORERS.register_module("camera")
class CameraScorer(Scorer):
    """What the camera does, named as the reference's tools name it.

    `static`, `pan_left`, `pan_right`, `tilt_up`, `tilt_down`, `zoom_in`, `zoom_out`, `roll`, or
    `undetermined` where too little structure or too much other motion is in the picture.
    """

    columns = ("cmotion",)

    def choose(self, num_frames: int) -> list[int]:
        """Eight pairs of neighbours, spread over the clip, of which four are used."""
        return spread_pairs(num_frames, NUM_PAIRS)

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        """Name the camera motion of clips; an image is static."""
        return {"cmotion": np.array([_judge(clip) for clip in batch], dtype=object)}


def _judge(clip: ClipFrames) -> str:
    if clip.is_image:
        return "static"
    pairs = clip.neighbours()
    used = spread(len(pairs), USED_PAIRS) if pairs else []
    found = [_global_motion(*map(_grey, pairs[k])) for k in used]
    motions = [motion for motion in found if motion is not None]
    if 2 * len(motions) <= len(found):
        return "undetermined"
    right, down, zoom, roll = np.median(motions, axis=0)
    # how far beyond its threshold each motion is; the strongest names the clip
    strengths = {
        ("pan_left" if right > 0 else "pan_right"): abs(right) / MIN_SHIFT,
        ("tilt_up" if down > 0 else "tilt_down"): abs(down) / MIN_SHIFT,
        ("zoom_in" if zoom > 0 else "zoom_out"): abs(zoom) / MIN_ZOOM,
        "roll": abs(roll) / MIN_ROLL,
    }
    name = max(strengths, key=strengths.__getitem__)
    return name if strengths[name] >= 1 else "static"


def _global_motion(before: np.ndarray, after: np.ndarray) -> tuple[float, ...] | None:
    """Shift of the picture's centre to the right and down, zoom and roll between two grey frames.

    Shifts are parts of the short side, zoom is relative, roll in radians; None where no common
    motion is found.
    """
    corners = _corners(before)
    if len(corners) < MIN_CORNERS:
        return None
    moved, tracked, _ = cv2.calcOpticalFlowPyrLK(
        before, after, corners, np.empty_like(corners), winSize=(WINDOW_PX, WINDOW_PX)
    )
    good = tracked.ravel() == 1
    if good.sum() < MIN_CORNERS:
        return None
    height, width = before.shape
    centre = np.array([width / 2, height / 2], np.float32)
    cv2.setRNGSeed(0)  # RANSAC draws from it
    matrix, inliers = cv2.estimateAffinePartial2D(
        corners[good].reshape(-1, 2) - centre,
        moved[good].reshape(-1, 2) - centre,
        method=cv2.RANSAC,
        ransacReprojThreshold=0.5,
    )
    if matrix is None or inliers.mean() < MIN_INLIERS:
        return None
    (a, _, right), (b, _, down) = matrix
    side = min(height, width)
    return right / side, down / side, float(np.hypot(a, b)) - 1, float(np.arctan2(b, a))


def _corners(grey: np.ndarray) -> np.ndarray:
    """Where to track, float32 [N, 1, 2] in pixels; looked for at half the size."""
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    found = cv2.goodFeaturesToTrack(
        half, MAX_CORNERS, qualityLevel=0.01, minDistance=CORNER_DISTANCE_PX / 2
    )
    if found is None:
        return np.empty((0, 1, 2), np.float32)
    return 2 * found + np.float32(0.5)  # the middle of the four pixels


def _grey(seen: Seen) -> np.ndarray:
    """Grey uint8 [h, w] of the working size."""
    height, width = seen.size
    scale = SHORT_SIDE_PX / min(height, width)
    size = (round(width * scale), round(height * scale))
    if seen.grey.shape == size[::-1]:
        return seen.grey
    return cv2.resize(seen.grey, size, interpolation=cv2.INTER_LINEAR)
