"""Comparisons of evaluations, as the command writes them, on the page."""

import json
from pathlib import Path

import pytest

from opensora.core.errors import ConfigError
from opensora.report.samples.against import comparisons
from tests.browser.run_folder import write_comparison


def test_every_difference_is_a_line_with_both_sides(tmp_path: Path) -> None:
    (found,) = comparisons([write_comparison(tmp_path)])
    assert (found["base"], found["names"]) == ("one/stage1", ["one/stage1", "two/stage1"])
    lines = {line["metric"]: line for line in found["lines"]}
    better, same = lines["clipsim"], lines["flow"]
    assert better["verdict"] == "better"
    assert not better["is_noise"]
    assert better["difference"]["mean"] == pytest.approx(0.1)
    assert better["value"]["mean"] - better["base"]["mean"] == pytest.approx(0.1)
    assert better["difference"]["low"] > 0
    assert better["count"] == 8
    assert same["is_noise"]
    assert same["difference"]["low"] <= 0 <= same["difference"]["high"]
    assert found["skipped"] == [
        {"name": "vbench two/stage1", "why": "its versions are 1 and 2; evaluate again"}
    ]


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"version": 1, "base": "x"}', "3"])
def test_another_file_is_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="is no comparison; make it with"):
        comparisons([path])


def test_another_layout_is_said(tmp_path: Path) -> None:
    path = write_comparison(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 9}))
    with pytest.raises(ConfigError, match="has layout 9"):
        comparisons([path])
