"""What is sampled of a run, and results that people measured elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from opensora.core.errors import ConfigError
from opensora.dag.measured import (
    check_measured,
    compared_evaluations,
    reported_stages,
    sampled_points,
    vbench_files,
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of a run in an empty folder, where two of three stages are shown and the second sampled."""
    monkeypatch.chdir(tmp_path)
    stages = [{"name": name, "milestones": [5] if name == "one" else []} for name in NAMES]
    found = {"run": "own", "stages": stages, "sample": {"stages": ["two"]}}
    return {**found, "evaluate": {"vbench": {}}, "report": {"against": []}}


NAMES = ("one", "two", "three")


def write(name: str, text: str = "{}") -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def test_milestones_on_the_way_and_ends_that_are_asked_for_are_sampled(
    config: dict[str, Any],
) -> None:
    assert reported_stages(config) == ["one", "two"]
    assert sampled_points(config) == ["one@5", "two"]
    config["sample"]["stages"] = []
    assert sampled_points(config) == ["one@5", "three"]


def test_results_of_vbench_are_found_point_by_point(config: dict[str, Any]) -> None:
    for name in ("a/2_eval_results.json", "a/1_eval_results.json", "a/info.json"):
        write(name)
    write("b/x_eval_results.json")
    config["evaluate"]["vbench"] = {"two": "a", "one@5": "b"}
    check_measured(config)
    assert vbench_files(config, "two") == ["a/1_eval_results.json", "a/2_eval_results.json"]
    assert vbench_files(config, "three") == []
    assert len(vbench_files(config)) == 3


def test_a_folder_of_a_run_stands_for_its_last_stage_that_was_measured(
    config: dict[str, Any],
) -> None:
    write("results/other/config.yaml", yaml.safe_dump({"stages": config["stages"]}))
    for name in ("one", "two", "two@7"):
        write(f"results/other/evaluation/{name}.json")
    write("mine.json")
    config["report"]["against"] = ["mine.json", "results/other"]
    check_measured(config)
    assert compared_evaluations(config) == ["mine.json", "results/other/evaluation/two.json"]


@pytest.mark.parametrize(
    ("vbench", "against", "sentence"),
    [
        ({"twoo": "a"}, [], "evaluate.vbench: 'twoo' is not sampled; did you mean 'two'"),
        ({"one": "a"}, [], "'one' is not sampled.*sampled are one@5, two"),
        ({"two": "a"}, [], "evaluate.vbench: two: 'a' has no .*_eval_results.json; give the"),
        ({}, ["gone"], "report.against: 'gone' does not exist"),
        ({}, ["empty"], "report.against: 'empty' holds no evaluation of a run; give results/RUN"),
        ({}, ["unmeasured"], "'unmeasured' holds no evaluation of a run"),
        ({}, ["results/own"], "'results/own' is of this run"),
        ({}, ["results/own/evaluation/two.json"], "is of this run, whose checkpoints"),
    ],
)
def test_what_is_not_there_or_not_meant_is_one_sentence(
    vbench: dict[str, str], against: list[str], sentence: str, config: dict[str, Any]
) -> None:
    Path("empty").mkdir()
    write("unmeasured/config.yaml", yaml.safe_dump({"stages": config["stages"]}))
    write("results/own/evaluation/two.json")
    config["evaluate"]["vbench"], config["report"]["against"] = vbench, against
    with pytest.raises(ConfigError, match=sentence):
        check_measured(config)
