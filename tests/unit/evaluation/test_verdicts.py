import pandas as pd
import pytest

from opensora.evaluation.verdicts import judge_samples, known_values

VALUES = {
    "colour": ["blue", "red"],
    "shape": ["circle", "square", "triangle"],
    "direction": ["left", "right"],
}


def attributes(colour, shape, direction):
    return {"colour": colour, "shape": shape, "direction": direction}


EXPECTED = [
    attributes("red", "circle", "left"),
    attributes("red", "square", "right"),
    attributes("blue", "square", "left"),
    attributes("blue", "circle", None),  # an image: no direction to follow
]
DETECTED = [
    attributes("red", "circle", "left"),
    attributes("red", "circle", "right"),
    attributes("red", None, "right"),
    attributes("blue", "circle", "left"),
]


def test_each_attribute_is_counted_where_it_was_asked_for():
    result = judge_samples(EXPECTED, DETECTED, VALUES)
    counts = {name: (result[name]["correct"], result[name]["n"]) for name in (*VALUES, "all")}
    assert counts == {"colour": (3, 4), "shape": (2, 4), "direction": (2, 3), "all": (1, 3)}


def test_chance_is_a_blind_guess_among_the_known_values():
    result = judge_samples(EXPECTED, DETECTED, VALUES)
    assert result["colour"]["chance"] == pytest.approx(1 / 2)
    assert result["shape"]["chance"] == pytest.approx(1 / 3)
    assert result["all"]["chance"] == pytest.approx(1 / 12)


def test_shuffled_is_the_mean_over_all_pairs_of_prompt_and_video():
    result = judge_samples(EXPECTED, DETECTED, VALUES)
    pairs = [(e["colour"], d["colour"]) for e in EXPECTED for d in DETECTED]
    assert result["colour"]["shuffled"] == pytest.approx(sum(e == d for e, d in pairs) / 16)
    # shapes: circle asked twice and seen three times, square asked twice and never seen
    assert result["shape"]["shuffled"] == pytest.approx(2 * 3 / 16)


def test_a_model_that_always_makes_the_same_video_is_exposed_by_shuffled():
    wanted = [attributes("red", "circle", "left"), attributes("blue", "circle", "left")]
    same = [attributes("red", "circle", "left")] * 2
    score = judge_samples(wanted, same, VALUES)["colour"]
    assert score["accuracy"] == score["shuffled"] == pytest.approx(0.5)


def test_confusion_rows_are_what_was_asked_for():
    table = judge_samples(EXPECTED, DETECTED, VALUES)["confusion"]["shape"]
    assert table["detected"] == ["circle", "square", "triangle", "none"]
    assert table["counts"] == [[2, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]]


def test_known_values_leave_out_empty_cells():
    truth = pd.DataFrame(
        {"colour": ["red", "blue"], "shape": ["circle", "circle"], "direction": ["", "left"]}
    )
    values = {"colour": ["blue", "red"], "shape": ["circle"], "direction": ["left"]}
    assert known_values(truth) == values
