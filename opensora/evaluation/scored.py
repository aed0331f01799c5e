"""Scores of curation, measured on samples: one scorer, one metric."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from opensora.config.registry import METRICS, SCORERS, build_module
from opensora.core.versions import VERSIONS
from opensora.curation.scores.scorer import ClipFrames, Scorer
from opensora.evaluation.metric import EvaluationInputs, Metric, prompts_of
from opensora.evaluation.statistics import summarise
from opensora.media.decode import read_frames
from opensora.tables.columns import ID, PATH


class ScoredMetric(Metric):
    """A score of each sample, by the scorer that judges training clips: the two compare."""

    column: ClassVar[str]  # of the scorer

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs nothing but samples; subclasses may need weights."""
        return None

    def compute(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """Score every sample.

        Returns:
            The score of each; null where it has too little to judge. `model`: hash of the weights,
            "" where there are none.
        """
        scorer = build_module({"type": self.name, **self._options(inputs)}, SCORERS)
        values = {row[ID]: self._score(scorer, row) for row in inputs.samples.to_dict("records")}
        found = summarise(values, prompts_of(inputs.samples))
        return {**found, "model": scorer.identity()}

    def _options(self, inputs: EvaluationInputs) -> dict[str, Any]:
        return {"device": inputs.device, **inputs.scorers.get(self.name, {})}

    def _score(self, scorer: Scorer, row: dict[Any, Any]) -> float:
        indices = scorer.choose(int(row["num_frames"]))
        frames = read_frames(row[PATH], indices)
        is_image = int(row["num_frames"]) == 1
        clip = ClipFrames(frames, np.array(indices), is_image, fps=float(row["fps"]))
        return float(scorer.score([clip])[self.column][0])


@METRICS.register_module("flow")
class Flow(ScoredMetric):
    """How much moves: mean length of the optical flow. More is not better, it is more."""

    name = "flow"
    version = VERSIONS["flow"]  # a scorer that counts otherwise is another metric
    column = "flow"
    unit = "pixels a second at a short side of 128"


@METRICS.register_module("aesthetic")
class Aesthetic(ScoredMetric):
    """The rating of first, middle and last frame that people are predicted to give."""

    name = "aesthetic"
    version = VERSIONS["aesthetic"]
    column = "aes"
    unit = "rating, 1 to 10"
    better = "higher"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs weights of a head, and the CLIP that it was trained on."""
        given = self._options(inputs)
        if not given.get("head") or not given.get("clip"):
            return "no aesthetic head is known (scorer_options name none for aesthetic)"
        return None
