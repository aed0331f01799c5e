"""Text-video match: cosine of the CLIP embeddings of a clip and its caption.

Source: Hessel et al. 2021, "CLIPScore", arXiv:2104.08718 (without its factor and floor).
"""

from collections.abc import Sequence

import numpy as np

from opensora.config.registry import SCORERS
from opensora.curation.scores.scorer import ClipFrames, Scorer, Scores, spread

NUM_FRAMES = 4


@SCORERS.register_module("match")
class MatchScorer(Scorer):
    """Cosine of clip and caption, -1 to 1; the mean over frames, or of one storyboard.

    Args:
        clip: folder or hub name of a CLIP model. Its `view` says how it sees a clip: frame by
            frame, or as one storyboard picture in which motion shows.
        device: where to compute.
    """

    columns = ("match",)
    needs_text = True

    def __init__(self, clip: str, device: str = "cpu") -> None:
        # imported here: the other scorers do without torch and open_clip
        from opensora.models.clip_model import load_clip, storyboard

        self._model = load_clip(clip, device=device)
        self._storyboard = storyboard

    def identity(self) -> str:
        """Hash of the CLIP model's weights."""
        return str(self._model.identity()["weights"])

    def choose(self, num_frames: int) -> list[int]:
        """Four frames; the first and the last among them where motion matters."""
        if self._model.view == "storyboard":
            count = min(NUM_FRAMES, num_frames)
            return sorted({round(k) for k in np.linspace(0, num_frames - 1, count)})
        return spread(num_frames, NUM_FRAMES)

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        """Score clips one by one, so that a score does not depend on its neighbours."""
        values = []
        for clip in batch:
            text = np.asarray(self._model.encode_texts([clip.text]))[0]  # [D]
            pictures = clip.frames
            if self._model.view == "storyboard":
                pictures = self._storyboard(clip.frames)[None]  # [1, 2h, 2w, 3]
            images = np.asarray(self._model.encode_images(pictures))  # [N, D]
            values.append(float((images @ text).mean()))
        return {"match": np.array(values, dtype=np.float32)}
