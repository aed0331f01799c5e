"""Technical quality: sharp, lit, not black, not frozen.

Sources: sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom
autofocusing in brightfield microscopy"); a black frame is defined as by ffmpeg's `blackdetect`.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from opensora.core.registry import SCORERS
from opensora.scorers.base import ClipFrames, Scorer, Scores, spread_pairs

NUM_PAIRS = 8
SHORT_SIDE_PX = 256  # larger frames are shrunk first, so that sharpness compares across sizes
BLACK_LUMA = 32  # 0.10 of the video range above black, as blackdetect's pixel_black_th
BLACK_SHARE = 0.98  # of the pixels, as blackdetect's picture_black_ratio_th
FROZEN_LEVELS = 0.1  # mean levels of red, green and blue between neighbours; a repeated frame has 0


@SCORERS.register_module("technical")
class TechnicalScorer(Scorer):
    """Sharpness, brightness, share of black frames, share of frozen pairs of frames."""

    columns = ("sharpness", "brightness", "black_ratio", "frozen_ratio")

    def choose(self, num_frames: int) -> list[int]:
        """Eight pairs of neighbours, spread over the clip."""
        return spread_pairs(num_frames, NUM_PAIRS)

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        """Score clips.

        Returns:
            sharpness: median over frames of the Laplacian's variance, grey levels squared.
            brightness: mean luma, 0 to 255.
            black_ratio: share of frames of which 98 % are black, 0 to 1.
            frozen_ratio: share of neighbours without any difference, 0 to 1; 0 for images.
        """
        rows = np.array([_judge(clip) for clip in batch], dtype=np.float32)  # [B, 4]
        return {name: rows[:, k] for k, name in enumerate(self.columns)}


def _judge(clip: ClipFrames) -> tuple[float, float, float, float]:
    lumas = [_luma(frame) for frame in clip.frames]
    sharpness = [cv2.Laplacian(luma, cv2.CV_32F, ksize=1).var() for luma in lumas]
    black = [(luma < BLACK_LUMA).mean() >= BLACK_SHARE for luma in lumas]
    pairs = np.flatnonzero(np.diff(clip.indices) == 1)
    if clip.is_image:
        frozen = 0.0
    elif not len(pairs):
        frozen = float("nan")
    else:
        frozen = float(
            np.mean(
                [_difference(clip.frames[k], clip.frames[k + 1]) < FROZEN_LEVELS for k in pairs]
            )
        )
    return float(np.median(sharpness)), float(np.mean(lumas)), float(np.mean(black)), frozen


def _luma(frame: np.ndarray) -> np.ndarray:
    """Grey levels float32 [h, w] of a uint8 [H, W, 3] frame, shrunk if it is large."""
    height, width = frame.shape[:2]
    scale = SHORT_SIDE_PX / min(height, width)
    if scale < 1:
        size = (round(width * scale), round(height * scale))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of two uint8 frames over all colours.

    Grey would not do: a blue object on a ground of equal luma moves unseen.
    """
    return float(cv2.absdiff(first, second).mean())
