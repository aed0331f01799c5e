"""A perceptual hash that near-duplicate clips share: re-encoded, resized, slightly brightened.

Source: DCT hashing as in Zauner 2010, "Implementation and benchmarking of perceptual image hash
functions"; with chroma, so that equal shapes in other colours differ, and with a dead zone in
place of the median, so that noise on flat areas sets no bits.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from opensora.config.registry import SCORERS
from opensora.curation.scores.scorer import ClipFrames, Scorer, Scores, spread, spread_pairs

NUM_FRAMES = 3
NUM_PAIRS = 8  # from whose frames they are taken: those that other scorers decode too
SIZE_PX = 32
LUMA_CELLS, CHROMA_CELLS = 8, 4  # lowest frequencies kept, per axis
DEAD_ZONE = 16.0  # orthonormal DCT of a cosine with an amplitude of one grey level
MIN_BITS = 12  # a hash with fewer set bits says nothing: black and blank clips would all be equal


@SCORERS.register_module("phash")
class PerceptualHash(Scorer):
    """288 bits of three frames as 72 hexadecimal digits; "" for clips without structure."""

    columns = ("phash",)

    def choose(self, num_frames: int) -> list[int]:
        """Three frames, spread over the clip, of those that other scorers look at."""
        decoded = spread_pairs(num_frames, NUM_PAIRS)
        places = spread(num_frames, NUM_FRAMES)
        return sorted({min(decoded, key=lambda frame: abs(frame - place)) for place in places})

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        """Hash clips.

        Returns:
            phash: text, compared by the number of differing bits (`curation/manifest/groups.py`).
        """
        return {"phash": np.array([_hash(clip) for clip in batch], dtype=object)}


def _hash(clip: ClipFrames) -> str:
    # a clip of fewer frames repeats them: a still and a video of it stay comparable
    chosen = [k * len(clip.seen) // NUM_FRAMES for k in range(NUM_FRAMES)]
    bits = np.concatenate([_frame_bits(clip.seen[k].rgb) for k in chosen])
    return np.packbits(bits).tobytes().hex() if bits.sum() >= MIN_BITS else ""


def _frame_bits(frame: np.ndarray) -> np.ndarray:
    """Bits [96] of a uint8 frame [H, W, 3]: which low frequencies are clearly positive."""
    small = cv2.resize(frame, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
    planes = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    parts = []
    for plane, cells in enumerate((LUMA_CELLS, CHROMA_CELLS, CHROMA_CELLS)):
        frequencies = cv2.dct(planes[..., plane] - 128)[:cells, :cells]
        parts.append((frequencies > DEAD_ZONE).ravel())
    return np.concatenate(parts)
