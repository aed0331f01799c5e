"""What was measured as rows and differences, in the shape of today and of before."""

from dataclasses import replace
from pathlib import Path

import pytest

from opensora.report.collect import collect
from opensora.report.media import Media
from opensora.report.samples.evaluation import evaluation, paired_difference, sample_values

MEDIA = Media(Path("none"), "media")
PLAIN = {"version": 2, "mean": 0.5, "low": 0.4, "high": 0.6, "count": 2}


def data_of(run, stages):
    return evaluation(replace(run, stages=stages), MEDIA)


def test_values_of_samples_are_found_in_every_shape_and_only_finite_ones():
    metrics = {
        "clipsim": {"samples": [{"id": "a", "cosine": 0.8}, {"id": "b", "cosine": float("nan")}]},
        "fidelity": {"samples": {"a": {"psnr": 30, "ssim": 0.9, "text": "x"}}},
        "flow": {**PLAIN, "samples": {"a": 1.5, "b": None, "c": True}},
        "prompt_following": {
            "samples": [
                {
                    "id": "a",
                    "expected": {"colour": "red", "shape": "circle", "direction": None},
                    "detected": {"colour": "red", "shape": None},
                }
            ]
        },
    }
    assert sample_values({"metrics": metrics}) == {
        "clipsim": {"a": 0.8},
        "fidelity.psnr": {"a": 30.0},
        "fidelity.ssim": {"a": 0.9},
        "flow": {"a": 1.5},
        "prompt_following": {"a": 0.5},
    }


def test_each_number_is_a_row_and_each_checkpoint_a_column(run_dir):
    run = collect(run_dir)
    later = replace(run.stages[0], name="stage2", evaluation={"metrics": {"flow": PLAIN}})
    data = data_of(run, [*run.stages, later])
    rows = {(row["metric"], row["part"]): row for row in data["rows"]}
    assert data["points"] == ["stage1", "stage2"]
    first, second = rows["prompt_following", "heldout / all"]["cells"]
    assert (first["value"], first["low"], first["high"], first["n"]) == (0.5, 0.1, 0.9, 2)
    assert (first["chance"], first["shuffled"], second) == (0.25, 0.3, None)
    assert rows["flow", ""]["cells"] == [
        None,
        {"value": 0.5, "low": 0.4, "high": 0.6, "n": 2},
    ]
    assert data["skipped"][0]["name"] == "clipsim"
    assert {table["part"] for table in data["confusions"]} == {
        f"prompt_following / heldout / {name}" for name in ("colour", "shape", "direction")
    }


@pytest.mark.parametrize(("shift", "is_noise"), [(0.0, True), (0.5, False)])
def test_a_difference_counts_where_its_interval_over_prompts_leaves_zero_out(shift, is_noise):
    pairs = {f"p{k}": [(0.0, shift + (-1) ** k * 0.1)] * 3 for k in range(12)}
    found = paired_difference(pairs)
    assert found["mean"] == pytest.approx(shift)
    assert found["low"] < shift < found["high"]
    assert (found["prompts"], found["samples"], found["is_noise"]) == (12, 36, is_noise)


def test_samples_of_few_prompts_prove_no_difference():
    found = paired_difference({"p": [(0.0, 1.0)] * 100, "q": [(0.0, 1.0)] * 100})
    assert (found["mean"], found["low"], found["is_noise"]) == (1.0, None, True)


def test_samples_are_compared_with_their_like_alone(run_dir):
    run = collect(run_dir)
    (stage,) = run.stages
    values = {"s0": 1.0, "s1": 1.0}
    first = {"metrics": {"flow": {"samples": values}, "old": {"version": 1, "samples": values}}}
    values = {"t0": 3.0, "t1": 5.0}
    second = {"metrics": {"flow": {"better": "lower", "samples": values}}}
    second["metrics"]["old"] = {"version": 2, "samples": values}
    other = stage.samples.assign(id=["t0", "t1"], seed=[0, 99])  # the second has another noise
    stages = [
        replace(stage, evaluation=first),
        replace(stage, name="b", evaluation=second, samples=other),
    ]
    (line,) = data_of(run, stages)["differences"]
    assert (line["before"], line["after"], line["mean"]) == ("stage1", "b", 2.0)
    assert (line["metric"], line["better"]) == ("flow", "lower")
    assert (line["samples"], line["is_noise"]) == (1, True)


def test_where_nothing_is_measured_there_is_no_data(run_dir):
    run = collect(run_dir)
    assert data_of(run, [replace(run.stages[0], evaluation=None)]) is None
