"""What the runs of a certificate say: pass, or fail with the first difference."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from opensora.core.io import read_json
from opensora.training.certify.course import Course
from opensora.training.certify.parts import CLOSE, Difference, curve_of, curves_differ
from opensora.training.certify.worker import OTHER, OUTCOME, STRAIGHT, UNDISTURBED
from opensora.training.checkpoint import METRICS

NOISES = 10.0  # so many times the difference of two undisturbed runs may be the device's


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: for people.
        passed: None where it could not be checked.
        words: what was found, in one sentence without its full stop.
        resumed_from: step of the checkpoint; None where there was none.
        difference: the first one: `what`, `step`, `largest`; None where there is none.
    """

    name: str
    passed: bool | None
    words: str
    resumed_from: int | None = None
    difference: Difference | None = None


class Judge:
    """Compares what the runs of a certificate left behind.

    Args:
        scratch: holds the folders of all runs.
        course: steps and workers.
    """

    def __init__(self, scratch: Path, course: Course) -> None:
        self._scratch, self._course = scratch, course

    def resumed(
        self, name: str, how: str, resumed_from: int, before: dict[str, Any] | None
    ) -> Check:
        """Whether a run that was ended and resumed is the straight one, to the last bit.

        Args:
            name: its folder.
            how: it was ended.
            resumed_from: step of its newest checkpoint after it had ended; 0 for none.
            before: outcome of its first part; None where that could not be written.
        """
        title, course = f"resume after {how}", self._course
        if not course.first < resumed_from < course.until:
            words = f"no checkpoint was left between steps {course.first} and {course.until}"
            return Check(title, False, words)
        outcome = read_json(self._scratch / name / OUTCOME)
        curves = [curve_of(self._scratch / one / METRICS) for one in (name, STRAIGHT)]
        difference = curves_differ(*curves)
        if difference is None and before is not None:
            difference = _misdealt([before, outcome], course, None)
        if difference is None and outcome["difference"] is not None:
            difference = {**outcome["difference"], "step": course.until}
        if difference is not None:
            difference["largest_of_all"] = outcome["largest"]
            words = _words(difference, "an undisturbed run")
            return Check(title, False, words, resumed_from, difference)
        words = (
            f"model, average, optimizer and losses of step {course.until} are equal to the last bit"
        )
        return Check(title, True, words, resumed_from)

    def beside_noise(self, check: Check, noise: float) -> Check:
        """A failed check once more, knowing how far two undisturbed runs are apart.

        Some kernels of GPUs add in no fixed order: then no resumption can give the same bits.

        Args:
            check: of a run that was resumed.
            noise: largest difference of any number of their states.
        """
        far = (check.difference or {}).get("largest_of_all")
        if check.passed or far is None or not 0 < far <= NOISES * noise:
            return check
        words = (
            f"two undisturbed runs differ here by up to {noise:.1e} and a resumed one by up to"
            f" {far:.1e}, because some sums of this device have no fixed order"
        )
        return Check(check.name, None, words, check.resumed_from, check.difference)

    def other(
        self, changed: int, before: dict[str, Any], names: tuple[str, str] = (OTHER, UNDISTURBED)
    ) -> Check:
        """Whether other workers go on as in a run that changes there and is not disturbed.

        Args:
            changed: step from which the other number trains.
            before: outcome of the run whose checkpoint it goes on from.
            names: folders of the resumed run, and of the one that is not disturbed.
        """
        course = self._course
        title = f"resume by {course.other_workers} instead of {course.workers} processes"
        outcome, whole = (read_json(self._scratch / name / OUTCOME) for name in names)
        compared = outcome if "largest" in outcome else whole
        difference = _misdealt([before, outcome], course, changed)
        if difference is None and compared["difference"] is not None:
            difference = {**compared["difference"], "step": course.until}
        if difference is not None:
            whom = "an undisturbed run that changes at the same step"
            return Check(title, False, _words(difference, whom), changed, difference)
        words = (
            f"every micro batch once and in order, weights within {compared['largest']:.1e} of an"
            f" undisturbed run that changes at step {changed} (allowed: {CLOSE:.0e})"
        )
        return Check(title, True, words, changed)


def _misdealt(
    outcomes: list[dict[str, Any]], course: Course, changed: int | None
) -> Difference | None:
    """The first step that was not trained on its entries of the plan; None where all were.

    Args:
        outcomes: of the parts of a run, one after the other.
        course: steps and workers.
        changed: step from which the other number trains; None for never.
    """
    trained: list[list[int]] = []
    for outcome in outcomes:
        groups = outcome["positions"][:: course.sp_size]  # workers of a group have the same
        size = course.accumulate
        for start in range(0, len(groups[0]), size):
            trained.append(sorted(chain(*(places[start : start + size] for places in groups))))
    expected = [list(block) for block in course.blocks(changed)]
    for step, (found, wanted) in enumerate(zip(trained, expected, strict=False), course.first):
        if found != wanted:
            return {"what": f"micro batches {found} in place of {wanted}", "step": step + 1}
    if len(trained) != len(expected):
        return {"what": "number of steps", "step": course.first + len(trained)}
    return None


def _words(difference: Difference, whom: str) -> str:
    largest = difference.get("largest")
    much = "" if largest is None else f", by up to {largest:.3g}"
    worker = f" of worker {difference['worker']}" if difference.get("worker") else ""
    return f"at step {difference['step']} {difference['what']}{worker} differs from {whom}{much}"
