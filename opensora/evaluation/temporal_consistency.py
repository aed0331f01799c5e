"""How alike neighbouring frames are: the cosine of their CLIP embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from opensora.config.registry import METRICS
from opensora.curation.scores.scorer import spread_pairs
from opensora.evaluation.metric import NO_CLIP, EvaluationInputs, Metric, prompts_of
from opensora.evaluation.statistics import summarise
from opensora.evaluation.stills import embed_stills
from opensora.media.decode import read_frames
from opensora.tables.columns import ID, PATH

NUM_PAIRS = 8  # evenly spread; where a sample has no more neighbours these are all


@METRICS.register_module("temporal_consistency")
class TemporalConsistency(Metric):
    """Mean cosine of neighbouring frames; an image has none.

    A still picture scores 1, so it is read beside the flow.

    Source: Esser et al. 2023, "Structure and Content-Guided Video Synthesis with Diffusion
    Models", arXiv:2302.03011, section 4.2 ("frame consistency").
    """

    name = "temporal_consistency"
    version = 1
    unit = "cosine"
    better = "higher"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs a CLIP model and videos."""
        if not inputs.clip:
            return NO_CLIP
        if (inputs.samples["num_frames"] < 2).all():
            return "all samples are images, which have no neighbouring frames"
        return None

    def compute(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """Compare neighbours.

        Returns:
            The mean cosine of each video; `model`: identity of the CLIP.
        """
        values = {
            row[ID]: self._of_video(inputs, row) if row["num_frames"] > 1 else None
            for row in inputs.samples.to_dict("records")
        }
        found = summarise(values, prompts_of(inputs.samples))
        return {**found, "model": inputs.clip_model.identity()}

    def _of_video(self, inputs: EvaluationInputs, row: dict[Any, Any]) -> float:
        indices = spread_pairs(int(row["num_frames"]), NUM_PAIRS)
        vectors = embed_stills(inputs.clip_model, read_frames(row[PATH], indices))  # [T, D]
        follows = np.flatnonzero(np.diff(indices) == 1)
        return float((vectors[follows] * vectors[follows + 1]).sum(axis=1).mean())
