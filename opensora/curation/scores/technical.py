"""Technical quality: sharp, lit, not black, not frozen, no bars, no visible blocks.

Sources: sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom
autofocusing in brightfield microscopy"); a black frame is defined as by ffmpeg's `blackdetect`;
blockiness compares steps across the 8-pixel grid of block transforms with all others (Wang, Bovik
and Evans 2000, "Blind measurement of blocking artifacts in images").
"""

import functools
from collections.abc import Sequence

import cv2
import numpy as np

from opensora.config.registry import SCORERS
from opensora.curation.scores.scorer import ClipFrames, Scorer, Scores, spread_pairs
from opensora.curation.scores.seen import Seen

NUM_PAIRS = 8
NUM_SOURCE = 4  # places of the source in which blocks are looked for
SHARP_EVERY = 2  # of the frames: neighbours are as sharp as each other
BLACK_LUMA = 32  # 0.10 of the video range above black, as blackdetect's pixel_black_th
BLACK_SHARE = 0.98  # of the pixels, as blackdetect's picture_black_ratio_th
FROZEN_LEVELS = 0.1  # mean levels of red, green and blue between neighbours; a repeated frame has 0
# levels of luma, which moves by at most 2.15 times the mean of the colours: these by 0.14 then
SURELY_MOVES = 0.3
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
            sharpness: median over every second frame of the Laplacian's variance, grey
                levels squared.
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
    looked_at = clip.source if len(clip.source) else clip.seen[::4]
    greys = [seen.grey for seen in clip.seen]
    clipped = [1 - _share(grey, DARK_LUMA + 1, BRIGHT_LUMA - 1) for grey in greys]
    black = [_share(grey, 0, BLACK_LUMA - 1) >= BLACK_SHARE for grey in greys]
    return (
        float(np.median([_sharpness(grey) for grey in greys[::SHARP_EVERY]])),
        float(np.mean([cv2.mean(grey)[0] for grey in greys])),
        float(np.mean(clipped)),
        float(np.mean(black)),
        _frozen_ratio(clip),
        _letterbox(functools.reduce(cv2.max, greys)),
        float(np.median([_blockiness(seen.stored_luma) for seen in looked_at])),
    )


def _share(grey: np.ndarray, lowest: int, highest: int) -> float:
    """Share of the pixels [h, w] between two levels, both included."""
    return cv2.countNonZero(cv2.inRange(grey, lowest, highest)) / grey.size


def _sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian, from its sums: a third of the time of `meanStdDev`."""
    edges = cv2.Laplacian(grey, cv2.CV_16S, ksize=1)
    mean = cv2.sumElems(edges)[0] / edges.size
    return max(0.0, cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - mean**2)


def _frozen_ratio(clip: ClipFrames) -> float:
    if clip.is_image:
        return 0.0
    still = [_is_still(first, second) for first, second in clip.neighbours()]
    return float(np.mean(still)) if still else float("nan")


def _is_still(first: Seen, second: Seen) -> bool:
    """Whether two frames are the same in all colours.

    Grey would not do: a blue object on a ground of equal luma moves unseen. But where luma differs
    clearly, so do the colours.
    """
    if cv2.norm(first.grey, second.grey, cv2.NORM_L1) >= SURELY_MOVES * first.grey.size:
        return False
    one, other = first.rgb, second.rgb
    return cv2.norm(one, other, cv2.NORM_L1) < FROZEN_LEVELS * one.size


def _letterbox(brightest: np.ndarray) -> float:
    """Share of a picture [h, w] outside the rectangle of what is ever bright."""
    rows = np.flatnonzero(brightest.max(axis=1) > BAR_LUMA)
    columns = np.flatnonzero(brightest.max(axis=0) > BAR_LUMA)
    if not len(rows) or not len(columns):
        return 0.0  # a black clip has no bars; black_ratio tells
    inside = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    return 1 - float(inside) / brightest.size


def _blockiness(luma: np.ndarray) -> float:
    """Mean step across the grid over the mean of the other steps, of luma at its own size."""
    on_grid, elsewhere = [], []
    for axis in (0, 1):
        length = luma.shape[axis] - 1
        if length + 1 < 2 * BLOCK_PX:
            continue
        before, behind = (luma[:-1], luma[1:]) if axis == 0 else (luma[:, :-1], luma[:, 1:])
        # sums along the lines of the picture; axis 0 leaves one value a row
        sums = cv2.reduce(cv2.absdiff(before, behind), 1 - axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
        steps = sums.ravel() / luma.shape[1 - axis]  # [side - 1]
        is_grid = np.arange(1, length + 1) % BLOCK_PX == 0
        on_grid.append(steps[is_grid].mean())
        elsewhere.append(steps[~is_grid].mean())
    if not on_grid:
        return 1.0  # too small for a grid
    return float((np.mean(on_grid) + FLAT_LEVELS) / (np.mean(elsewhere) + FLAT_LEVELS))
