"""CLIP similarity of a sample and its prompt, beside the similarity to everyone else's prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from opensora.config.registry import METRICS
from opensora.evaluation.metric import NO_CLIP, EvaluationInputs, Metric, prompts_of
from opensora.evaluation.statistics import proportion, summarise
from opensora.media.decode import read_frames
from opensora.models.clip_model import ClipModel, storyboard
from opensora.tables.columns import ID, PATH

_MAX_FRAMES = 16  # evenly spaced frames of a sample that a frame-wise CLIP looks at


@METRICS.register_module("clipsim")
class ClipSim(Metric):
    """Mean cosine of samples and prompts.

    Source: CLIPSIM of Wu et al. 2021, arXiv:2104.14806, as plain cosines.
    """

    name = "clipsim"
    version = 2
    unit = "cosine"
    better = "higher"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs a CLIP model."""
        return None if inputs.clip else NO_CLIP

    def compute(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """Compare every sample with every prompt.

        Returns:
            The cosines with the own prompt; `shuffled`: mean cosine with all different prompts
            (None when there is only one prompt); `retrieval`: how often the own prompt is the
            nearest of all, with its `chance`; `model`: identity of the CLIP.
        """
        clip = inputs.clip_model
        rows = inputs.samples.to_dict("records")
        prompts = sorted({row["prompt"] for row in rows})
        texts = clip.encode_texts(prompts).numpy()  # [P, D]
        videos = np.stack(
            [
                self._embed(clip, read_frames(row[PATH], range(int(row["num_frames"]))))
                for row in rows
            ]
        )  # [N, D]
        own = np.array([prompts.index(row["prompt"]) for row in rows])  # [N]
        cosines = videos @ texts.T  # [N, P]
        values = {
            row[ID]: float(cosines[n, k]) for n, (row, k) in enumerate(zip(rows, own, strict=True))
        }
        return {
            **summarise(values, prompts_of(inputs.samples)),
            **compare(cosines, own),
            "model": clip.identity(),
        }

    def _embed(self, clip: ClipModel, frames: np.ndarray) -> np.ndarray:
        """Embed one video [T, H, W, 3] as the model was trained to see it; returns [D]."""
        if clip.view == "storyboard":
            return clip.encode_images(storyboard(frames)[None]).numpy()[0]
        picked = np.linspace(0, len(frames) - 1, min(len(frames), _MAX_FRAMES)).round().astype(int)
        # the mean of unit vectors, not normalised again: its dot product is the mean cosine
        return clip.encode_images(frames[picked]).numpy().mean(axis=0)


def compare(cosines: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    """Summarise a table of cosines.

    Args:
        cosines: [N, P], sample by distinct prompt.
        own: [N] int, index of each sample's own prompt.
    """
    num_samples, num_prompts = cosines.shape
    is_own = np.arange(num_prompts)[None] == own[:, None]  # [N, P]
    nearest = cosines.argmax(axis=1)
    return {
        "shuffled": float(cosines[~is_own].mean()) if num_prompts > 1 else None,
        "retrieval": {
            **proportion(int((nearest == own).sum()), num_samples),
            "chance": 1.0 / num_prompts,
        },
    }
