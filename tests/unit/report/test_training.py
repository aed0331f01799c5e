"""Curves of training, thinned, with nothing lost in silence."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from opensora.report.collect import collect
from opensora.report.media import Media
from opensora.report.training import MAX_POINTS, training

MEDIA = Media(Path("none"), "media")


def run_of(run_dir, lines, names=("stage1",)):
    run = collect(run_dir)
    metrics = pd.DataFrame(lines)
    stages = [replace(run.stages[0], name=name, metrics=metrics) for name in names]
    return replace(run, stages=stages)


def test_curves_and_their_parts_stand_side_by_side(run_dir):
    lines = [
        {"step": 1, "loss": 1.0, "mfu": None, "loss_by_band": {"0.00-0.50": 2.0}},
        {"step": 2, "loss": 0.5, "mfu": None, "loss_by_band": {"0.50-1.00": 3.0}},
    ]
    lines[1] |= {"held_out_loss": 0.7, "held_out_loss_by_bucket": {"16px|1|1.00": 0.7}}
    (stage,) = training(run_of(run_dir, lines), MEDIA)["stages"]
    assert (stage["steps"], stage["curves"]) == ([1, 2], {"loss": [1.0, 0.5]})
    assert stage["groups"]["loss_by_band"] == {"0.00-0.50": [2.0, None], "0.50-1.00": [None, 3.0]}
    assert stage["held_out"] == {
        "steps": [2],
        "curves": {"held_out_loss": [0.7]},
        "groups": {"loss_by_bucket": {"16px|1|1.00": [0.7]}},
    }


def test_long_curves_are_thinned_to_means(run_dir):
    count = MAX_POINTS * 2
    lines = [{"step": k, "loss": float(k % 2)} for k in range(1, count + 1)]
    (stage,) = training(run_of(run_dir, lines), MEDIA)["stages"]
    assert (stage["every"], len(stage["steps"])) == (2, MAX_POINTS)
    assert (stage["steps"][0], stage["steps"][-1]) == (2, count)
    assert set(stage["curves"]["loss"]) == {0.5}


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_told(run_dir, odd):
    lines = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": odd}, {"step": 3, "loss": 1.0}]
    (stage,) = training(run_of(run_dir, lines), MEDIA)["stages"]
    assert stage["curves"]["loss"] == [1.0, None, 1.0]
    assert stage["notes"] == ["loss is no finite number in 1 lines"]


def test_a_milestone_is_a_mark_on_the_curve_of_its_stage(run_dir):
    lines = [{"step": 1, "loss": 1.0}]
    names = ("stage1@1", "stage1", "stage2@5")
    shown = training(run_of(run_dir, lines, names), MEDIA)
    assert [(s["name"], s["milestones"]) for s in shown["stages"]] == [
        ("stage1", [1]),
        ("stage2@5", []),  # its stage is not trained to the end
    ]
    assert training(run_of(run_dir, []), MEDIA) is None
