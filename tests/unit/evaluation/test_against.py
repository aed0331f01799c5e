"""Differences between evaluations, and which of them are noise."""

import json

import numpy as np
import pytest

from opensora.core.errors import ConfigError
from opensora.evaluation.against import compare, read_evaluations, table
from opensora.evaluation.statistics import summarise

HARD = np.random.default_rng(0).normal(0.0, 1.0, 40)  # prompts differ far more than stages


def write(path, values, *, seed=0, **changes):
    ids = [f"s{k}" for k in range(len(values))]
    prompts = {name: f"prompt {name}" for name in ids}
    metric = {"version": 1, "of": "samples", "unit": "cosine", "better": "higher"}
    metric |= summarise(dict(zip(ids, map(float, values), strict=True)), prompts) | changes
    samples = {name: {"prompt": prompts[name], "seed": seed} for name in ids}
    content = {"version": 2, "samples": samples, "metrics": {"clipsim": metric}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, "skipped": {}}))
    return path


def found(*paths):
    result = compare(read_evaluations(paths))
    return result, result["metrics"]["clipsim"]["differences"]


def test_pairs_show_what_means_can_not(tmp_path):
    small = HARD + np.random.default_rng(1).normal(0.1, 0.05, 40)
    files = [write(tmp_path / "a/evaluation/stage1.json", HARD), write(tmp_path / "b.json", small)]
    result, differences = found(*files)
    assert result["names"] == ["stage1", "b"]
    change = differences["b"]
    assert (change["paired"], change["count"], change["verdict"]) == (True, 40, "better")
    assert change["low"] < 0.1 < change["high"]
    assert change["mean"] == pytest.approx((small - HARD).mean())
    # the same values from other seeds are no pairs, and the difference drowns
    other = write(tmp_path / "c.json", small, seed=1)
    change = found(files[0], other)[1]["c"]
    assert (change["paired"], change["verdict"]) == (False, "noise")
    assert "better (40 pairs)" in table(result)


def test_no_difference_is_noise(tmp_path):
    moved = HARD + np.random.default_rng(2).normal(0.0, 0.3, 40)
    files = [write(tmp_path / "a.json", HARD), write(tmp_path / "b.json", moved)]
    assert found(*files)[1]["b"]["verdict"] == "noise"
    worse = write(tmp_path / "worse.json", HARD - 1)
    assert found(files[0], worse)[1]["worse"]["verdict"] == "worse"
    plain = [write(tmp_path / f"{k}.json", HARD - k, better=None) for k in range(2)]
    assert found(*plain)[1]["1"]["verdict"] == "lower"


def test_equal_names_get_their_runs(tmp_path):
    files = [write(tmp_path / run / "evaluation/stage1.json", HARD) for run in ("one", "two")]
    assert found(*files)[0]["names"] == ["one/stage1", "two/stage1"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "versions are 1 and 2"),
        ({"model": {"weights": "x"}}, "by another model"),
        ({"mean": None}, "has no value"),
    ],
)
def test_what_does_not_compare_is_told(tmp_path, changes, reason):
    files = [write(tmp_path / "a.json", HARD), write(tmp_path / "b.json", HARD, **changes)]
    result, differences = found(*files)
    assert differences == {}
    assert reason in result["skipped"]["clipsim b"]


def test_what_is_no_evaluation_is_refused(tmp_path):
    good = write(tmp_path / "a.json", HARD)
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"b\.json is no evaluation"):
        read_evaluations([good, tmp_path / "b.json"])
    (tmp_path / "b.json").write_text('{"version": 1}')
    with pytest.raises(ConfigError, match="has layout 1"):
        read_evaluations([good, tmp_path / "b.json"])
    with pytest.raises(ConfigError, match="give two"):
        read_evaluations([good])
    with pytest.raises(ConfigError, match="named twice"):
        read_evaluations([good, good])
