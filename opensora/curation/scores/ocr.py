"""Burnt-in text: subtitles, logos, title cards, found by a text detector.

Source: PP-OCR's detector (arXiv:2009.09941) as the package rapidocr ships it, weights included;
boxes are found, not read.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from opensora.config.registry import SCORERS
from opensora.curation.scores.scorer import ClipFrames, Scorer, Scores, spread

NUM_FRAMES = 3
SHORT_SIDE_PX = 320  # enough for subtitles; text detection is the slowest of the scorers
MIN_SIDE_PX = 64  # the detector sees text in anything smaller
MIN_BOX_SHARE = 0.0005  # of the picture; smaller boxes are specks
MAX_LINE_SHARE = 0.25  # of the short side: no line of text is higher, but cars and people are
MIN_CONFIDENCE = 0.65  # real text has 0.8 and more, patterns that look like it about 0.6


@SCORERS.register_module("ocr")
class OcrScorer(Scorer):
    """Most boxes of text on one of three frames, and the largest share of a frame they cover."""

    columns = ("ocr", "text_area")

    def __init__(self) -> None:
        from rapidocr import RapidOCR  # imported here: it takes a second

        self._detector: Any = RapidOCR(
            params={
                "Global.log_level": "error",
                # other numbers of threads could give other boxes
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def choose(self, num_frames: int) -> list[int]:
        """Three frames, spread over the clip."""
        return spread(num_frames, NUM_FRAMES)

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        """Score clips.

        Returns:
            ocr: number of text boxes.
            text_area: share of the picture they cover, 0 to 1.
        """
        rows = [[self._boxes(seen.rgb) for seen in clip.seen] for clip in batch]
        return {
            "ocr": np.array([max(len(b) for b in frames) for frames in rows], np.float32),
            "text_area": np.array(
                [max(min(1.0, sum(b)) for b in frames) for frames in rows], np.float32
            ),
        }

    def _boxes(self, frame: np.ndarray) -> list[float]:
        """Share of the picture under each box of text on a uint8 frame [H, W, 3]."""
        height, width = frame.shape[:2]
        if min(height, width) < MIN_SIDE_PX:
            return []
        scale = min(1.0, SHORT_SIDE_PX / min(height, width))
        small = cv2.resize(
            frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA
        )
        found = self._detector(
            cv2.cvtColor(small, cv2.COLOR_RGB2BGR), use_det=True, use_cls=False, use_rec=False
        )
        if found.boxes is None:
            return []
        area, short_side = small.shape[0] * small.shape[1], min(small.shape[:2])
        shares = []
        for corners, confidence in zip(found.boxes, found.scores, strict=True):
            box = np.asarray(corners, np.float32)  # [4, 2]
            share = float(cv2.contourArea(box)) / area
            line_height = min(cv2.minAreaRect(box)[1])
            if (
                share >= MIN_BOX_SHARE
                and line_height <= MAX_LINE_SHARE * short_side
                and confidence >= MIN_CONFIDENCE
            ):
                shares.append(share)
        return shares
