import shutil

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.evaluation.metric import EvaluationInputs, read_samples
from opensora.evaluation.prompt_following import PromptFollowing
from opensora.tables.io import read_table, write_table


def inputs_of(world, truth):
    return EvaluationInputs(samples=read_samples(world / "samples" / "samples.csv"), truth=truth)


def test_rendered_clips_follow_their_prompts(world):
    result = PromptFollowing().compute(inputs_of(world, world / "world" / "truth"))
    assert sorted(result["splits"]) == ["heldout", "seen"]
    for scores in result["splits"].values():
        assert scores["num_samples"] == 4
        assert scores["colour"]["accuracy"] == scores["direction"]["accuracy"] == 1.0
    verdict = result["verdicts"][0]
    assert verdict["expected"]["colour"] == verdict["detected"]["colour"]
    assert result["unmatched"] == []


def test_a_wrong_truth_lowers_the_score(world, tmp_path):
    table = read_table(world / "world" / "truth" / "prompts.csv")
    other = {"left": "right", "right": "left", "up": "down", "down": "up"}
    write_table(
        table.assign(direction=table["direction"].map(other)), tmp_path / "truth" / "prompts.csv"
    )
    result = PromptFollowing().compute(inputs_of(world, tmp_path / "truth"))
    for scores in result["splits"].values():
        assert scores["direction"]["correct"] == scores["all"]["correct"] == 0
        assert scores["colour"]["accuracy"] == 1.0
    assert result["samples"] == {f"s{k}": 0.0 for k in range(8)}


def test_prompts_match_whatever_their_case_and_spaces(world, tmp_path):
    table = read_table(world / "world" / "truth" / "prompts.csv")
    table["prompt"] = [f" {prompt.upper()} " for prompt in table["prompt"]]
    write_table(table.iloc[1:], tmp_path / "prompts.csv")
    result = PromptFollowing().compute(inputs_of(world, tmp_path))
    assert result["unmatched"] == ["prompt 0"]
    assert len(result["verdicts"]) == 7


def test_what_is_missing_is_said(world, tmp_path):
    metric = PromptFollowing()
    assert "--truth" in metric.missing(inputs_of(world, None))
    assert "does not exist" in metric.missing(inputs_of(world, tmp_path))
    columns = {"prompt": ["other"], "colour": ["red"], "shape": ["a"], "direction": [""]}
    write_table(pd.DataFrame({**columns, "split": ["seen"]}), tmp_path / "prompts.csv")
    assert "no prompt of the samples" in metric.missing(inputs_of(world, tmp_path))


def test_a_truth_without_splits_is_refused(world, tmp_path):
    table = read_table(world / "world" / "truth" / "prompts.csv").drop(columns="split")
    write_table(table, tmp_path / "prompts.csv")
    with pytest.raises(TableError, match="'split' is missing"):
        PromptFollowing().compute(inputs_of(world, tmp_path))


def test_a_vanished_sample_is_named(world, tmp_path):
    shutil.copy(world / "samples" / "samples.csv", tmp_path / "samples.csv")
    with pytest.raises(TableError, match=r"0\.mp4 does not exist"):
        read_samples(tmp_path / "samples.csv")
