"""Technical quality: sharp, lit, not black, not frozen, no bars, no visible blocks.

Sources: sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom
autofocusing in brightfield microscopy"); a black frame is defined as by ffmpeg's `blackdetect`;
blockiness compares steps across the 8-pixel grid of block transforms with all others (Wang, Bovik
and Evans 2000, "Blind measurement of blocking artifacts in images").
"""

from collections.abc import Sequence

import cv2
import numpy as np

from opensora.config.registry import SCORERS
from opensora.curation.scores.scorer import ClipFrames, Scorer, Scores, spread_pairs

NUM_PAIRS = 8
NUM_SOURCE = 4  # frames of the source in which blocks are looked for
SHORT_SIDE_PX = 256  # larger frames are shrunk first, so that sharpness compares across sizes
BLACK_LUMA = 32  # 0.10 of the video range above black, as blackdetect's pixel_black_th
BLACK_SHARE = 0.98  # of the pixels, as blackdetect's picture_black_ratio_th
FROZEN_LEVELS = 0.1  # mean levels of red, green and blue between neighbours; a repeated frame has 0
BAR_LUMA = 24  # brightest pixel of a black bar, with the noise of compression
DARK_LUMA, BRIGHT_LUMA = 4, 251  # of clipped shadows and lights
BLOCK_PX = 8
FLAT_LEVELS = 0.1  # added to both mean steps: a flat picture has no blocks


@SCORERS.register_module("technical")
class TechnicalScorer(Scorer):
    """Sharpness, exposure, black and frozen frames, letterbox, compression blocks."""

    columns = (
        *("sharpness", "brightness", "clipped_ratio", "black_ratio", "frozen_ratio"),
        *("letterbox", "blockiness"),
    )

    needs_source = NUM_SOURCE

    def choose(self, num_frames: int) -> list[int]:
        """Eight pairs of neighbours, spread over the clip."""
        return spread_pairs(num_frames, NUM_PAIRS)

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        """Score clips.

        Returns:
            sharpness: median over frames of the Laplacian's variance, grey levels squared.
            brightness: mean luma, 0 to 255.
            clipped_ratio: share of pixels without detail because they are black or white.
            black_ratio: share of frames of which 98 % are black, 0 to 1.
            frozen_ratio: share of neighbours without any difference, 0 to 1; 0 for images.
            letterbox: share of the picture under black bars that all frames have, 0 to 1.
            blockiness: steps across the 8-pixel grid over all other steps, in frames of the source
                as they are stored, since a clip that was encoded anew hides them; 1 is none.
        """
        rows = np.array([_judge(clip) for clip in batch], dtype=np.float32)  # [B, columns]
        return {name: rows[:, k] for k, name in enumerate(self.columns)}


def _judge(clip: ClipFrames) -> tuple[float, ...]:
    looked_at = clip.source if len(clip.source) else clip.frames[::4]
    lumas = [_luma(frame) for frame in clip.frames]
    sharpness = [cv2.Laplacian(luma, cv2.CV_32F, ksize=1).var() for luma in lumas]
    black = [(luma < BLACK_LUMA).mean() >= BLACK_SHARE for luma in lumas]
    clipped = [((luma <= DARK_LUMA) | (luma >= BRIGHT_LUMA)).mean() for luma in lumas]
    return (
        float(np.median(sharpness)),
        float(np.mean(lumas)),
        float(np.mean(clipped)),
        float(np.mean(black)),
        _frozen_ratio(clip),
        _letterbox(np.max(lumas, axis=0)),
        float(np.median([_blockiness(frame) for frame in looked_at])),
    )


def _frozen_ratio(clip: ClipFrames) -> float:
    if clip.is_image:
        return 0.0
    still = [_difference(first, second) < FROZEN_LEVELS for first, second in clip.neighbours()]
    return float(np.mean(still)) if still else float("nan")


def _letterbox(brightest: np.ndarray) -> float:
    """Share of a picture [h, w] outside the rectangle of what is ever bright."""
    rows = np.flatnonzero(brightest.max(axis=1) > BAR_LUMA)
    columns = np.flatnonzero(brightest.max(axis=0) > BAR_LUMA)
    if not len(rows) or not len(columns):
        return 0.0  # a black clip has no bars; black_ratio tells
    inside = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    return 1 - float(inside) / brightest.size


def _blockiness(frame: np.ndarray) -> float:
    """Mean step across the grid over the mean of the other steps, of a frame at its own size."""
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.int16)
    on_grid, elsewhere = [], []
    for axis in (0, 1):
        if luma.shape[axis] < 2 * BLOCK_PX:
            continue
        steps = np.abs(np.diff(luma, axis=axis)).mean(axis=1 - axis)  # [side - 1]
        is_grid = np.arange(1, len(steps) + 1) % BLOCK_PX == 0
        on_grid.append(steps[is_grid].mean())
        elsewhere.append(steps[~is_grid].mean())
    if not on_grid:
        return 1.0  # too small for a grid
    return float((np.mean(on_grid) + FLAT_LEVELS) / (np.mean(elsewhere) + FLAT_LEVELS))


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
