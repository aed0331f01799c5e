"""Motion: mean length of dense optical flow.

Sources: Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search", arXiv:1603.03590, as
OpenCV implements it; or Teed and Deng 2020, "RAFT", arXiv:2003.12039, as torchvision does.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from opensora.config.registry import SCORERS
from opensora.core.io import sha256_file
from opensora.curation.scores.scorer import ClipFrames, Scorer, Scores, spread_pairs
from opensora.curation.scores.seen import Seen

NUM_PAIRS = 8
SHORT_SIDE_PX = 128  # frames are scaled to this, up or down: one pixel is 1/128 of the short side
MAX_LONG_SIDE_PX = 1024  # a banner is not blown up beyond this
MIN_SIDE_PX = 32  # from here on the preset has room for its patches at its finest scale


@SCORERS.register_module("flow")
class FlowScorer(Scorer):
    """Mean over pixels and pairs of the flow's length between neighbouring frames.

    The unit is pixels a second on frames scaled to a short side of 128 pixels, so that clips of all
    sizes and rates compare; 1.28 means that the picture moves by 1 % of its short side a second.

    Args:
        raft: weights of torchvision's raft_large or raft_small; None uses DIS, which needs none.
        device: where RAFT computes.

    Raises:
        CheckpointError: the file holds no RAFT.
    """

    columns = ("flow",)

    def __init__(self, raft: str | None = None, device: str = "cpu") -> None:
        # `medium` takes four times as long and puts clips into the same order (rank correlation
        # 0.99 over 60 pieces of real films)
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._raft: Any = None
        self._identity = ""
        if raft is not None:
            from opensora.curation.scores.raft import Raft  # imported here: DIS does without torch

            self._raft = Raft(raft, device)
            self._identity = sha256_file(raft)

    def identity(self) -> str:
        """Hash of RAFT's weights."""
        return self._identity

    def choose(self, num_frames: int) -> list[int]:
        """Eight pairs of neighbours, spread over the clip."""
        return spread_pairs(num_frames, NUM_PAIRS)

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        """Score clips; an image scores 0, a video of one frame NaN."""
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # DIS gives other numbers on another number of threads
        try:
            values = [self._judge(clip) for clip in batch]
        finally:
            cv2.setNumThreads(threads)
        return {"flow": np.array(values, dtype=np.float32)}

    def _flow(self, first: Seen, second: Seen) -> np.ndarray:
        """Flow float32 [h, w, 2] in pixels of the working size."""
        if self._raft is not None:
            return self._raft(  # type: ignore[no-any-return]
                _resize(first.rgb, first.size), _resize(second.rgb, second.size)
            )
        before, after = (_resize(seen.grey, seen.size) for seen in (first, second))
        return self._dis.calc(before, after, None)  # type: ignore[call-overload]

    def _judge(self, clip: ClipFrames) -> float:
        if clip.is_image:
            return 0.0
        lengths = [
            _lengths(self._flow(first, second)).mean() for first, second in clip.neighbours()
        ]
        return float(np.mean(lengths)) * clip.fps if lengths else float("nan")


def _lengths(flow: np.ndarray) -> np.ndarray:
    """Of the vectors [h, w, 2]."""
    right, down = cv2.split(flow)
    return cv2.magnitude(right, down)


def _resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame, or a smaller picture of it, at the working size of frames of this (H, W)."""
    scale = min(SHORT_SIDE_PX / min(size), MAX_LONG_SIDE_PX / max(size))
    height, width = (max(MIN_SIDE_PX, round(side * scale)) for side in size)
    # up to half the size no pixel is skipped by linear weights, which take a quarter of the time
    skips = frame.shape[0] > 2 * height or frame.shape[1] > 2 * width + 1
    interpolation = cv2.INTER_AREA if skips else cv2.INTER_LINEAR
    return cv2.resize(frame, (width, height), interpolation=interpolation)
