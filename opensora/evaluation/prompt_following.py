"""Does a sample show what its prompt asks for? Answered by the detector of the demo world."""

from __future__ import annotations

from typing import Any

from opensora.config.registry import METRICS
from opensora.core.errors import TableError
from opensora.evaluation.metric import EvaluationInputs, Metric, prompts_of
from opensora.evaluation.statistics import summarise
from opensora.evaluation.verdicts import ATTRIBUTES, detect_attributes, judge_samples, known_values
from opensora.media.decode import read_frames
from opensora.tables.columns import ID, PATH
from opensora.tables.io import read_table


@METRICS.register_module("prompt_following")
class PromptFollowing(Metric):
    """Accuracy of colour, shape, direction and all three, for held-out and seen prompts apart."""

    name = "prompt_following"
    version = 2
    unit = "share"
    better = "higher"

    def missing(self, inputs: EvaluationInputs) -> str | None:
        """Needs the truth of the prompts, and at least one sample with such a prompt."""
        if inputs.truth is None:
            return "no truth is known for these prompts (--truth was not given)"
        if not (inputs.truth / "prompts.csv").is_file():
            return f"{inputs.truth / 'prompts.csv'} does not exist"
        known = {_normalised(prompt) for prompt in self._truth(inputs)["prompt"]}
        if not any(_normalised(prompt) in known for prompt in inputs.samples["prompt"]):
            return f"no prompt of the samples stands in {inputs.truth / 'prompts.csv'}"
        return None

    def compute(self, inputs: EvaluationInputs) -> dict[str, Any]:
        """Detect the attributes of every sample and compare.

        Returns:
            1 or 0 of each sample that should show all three, whether it does; `splits` (name ->
            num_samples and the result of `judge_samples`), `verdicts` (one a sample: id, prompt,
            split, expected, detected), `unmatched` (prompts without truth).
        """
        truth = self._truth(inputs)
        by_prompt = {_normalised(row["prompt"]): row for row in truth.to_dict("records")}
        verdicts: list[dict[str, Any]] = []
        unmatched: set[str] = set()
        for sample in inputs.samples.to_dict("records"):
            row = by_prompt.get(_normalised(sample["prompt"]))
            if row is None:
                unmatched.add(sample["prompt"])
                continue
            frames = read_frames(sample[PATH], range(int(sample["num_frames"])))
            verdicts.append(
                {
                    "id": sample[ID],
                    "prompt": sample["prompt"],
                    "split": row["split"],
                    "expected": {name: row[name] or None for name in ATTRIBUTES},
                    "detected": detect_attributes(frames),
                }
            )
        values = known_values(truth)
        splits = {}
        for split in sorted({verdict["split"] for verdict in verdicts}):
            chosen = [verdict for verdict in verdicts if verdict["split"] == split]
            expected = [verdict["expected"] for verdict in chosen]
            detected = [verdict["detected"] for verdict in chosen]
            splits[split] = {
                "num_samples": len(chosen),
                **judge_samples(expected, detected, values),
            }
        rights = {
            verdict["id"]: float(verdict["expected"] == verdict["detected"])
            for verdict in verdicts
            if all(verdict["expected"].values())
        }
        return {
            **summarise(rights, prompts_of(inputs.samples)),
            "splits": splits,
            "verdicts": verdicts,
            "unmatched": sorted(unmatched),
        }

    def _truth(self, inputs: EvaluationInputs) -> Any:
        assert inputs.truth is not None  # missing() was asked first
        path = inputs.truth / "prompts.csv"
        frame = read_table(path)
        lacking = [name for name in ("prompt", *ATTRIBUTES, "split") if name not in frame]
        if lacking:
            raise TableError(f"{path}: column {lacking[0]!r} is missing; rule make_demo makes it")
        return frame


def _normalised(prompt: str) -> str:
    """Spelling that survives cleaning: lower case, single spaces."""
    return " ".join(str(prompt).lower().split())
