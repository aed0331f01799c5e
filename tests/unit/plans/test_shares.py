"""Shares of sources before a plan is compiled are those that the plan then has."""

from pathlib import Path

import pytest
import yaml

from opensora.cli.main import EXIT_USER, main
from opensora.plans.shares import shares_of_sources

REPOSITORY = Path(__file__).parents[3]
COUNTS = {"web": 300, "own": 100, "rare": 0}


def test_weights_say_the_shares_whatever_the_counts() -> None:
    rates = {name: {"weight": w} for name, w in (("web", 3.0), ("own", 1.0), ("rare", 1.0))}
    assert shares_of_sources({**COUNTS, "rare": 5}, rates) == {
        "web": (pytest.approx(0.6), pytest.approx(0.6 * 405 / 300)),
        "own": (pytest.approx(0.2), pytest.approx(0.2 * 405 / 100)),
        "rare": (pytest.approx(0.2), pytest.approx(0.2 * 405 / 5)),
    }
    unknown = shares_of_sources(dict.fromkeys(COUNTS), rates)
    assert unknown["web"] == (pytest.approx(0.6), None)
    empty = shares_of_sources(COUNTS, rates)
    assert empty["web"][0] == pytest.approx(0.75)  # a source without clips leaves its part
    assert empty["rare"] == (0.0, None)


def test_repeats_and_limits_follow_the_counts() -> None:
    rates = {"web": {"max_share": 0.5}, "own": {"repeat": 2.0}, "rare": {}}
    found = shares_of_sources(COUNTS, rates)
    assert found["web"] == (pytest.approx(0.5), pytest.approx(200 / 300))
    assert found["own"] == (pytest.approx(0.5), pytest.approx(2.0))
    assert shares_of_sources({**COUNTS, "own": None}, rates)["web"] == (None, None)
    assert shares_of_sources(COUNTS, {})["web"] == (pytest.approx(0.75), pytest.approx(1.0))


def test_the_command_counts_files_before_a_run_and_clips_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workflow").symlink_to(REPOSITORY / "workflow")
    for name, count in (("web", 3), ("own", 1)):
        (tmp_path / name).mkdir()
        for k in range(count):
            (tmp_path / name / f"{k}.mp4").write_bytes(b"not looked into")
    (tmp_path / "far.csv").write_text("url\nhttps://a.example/1.mp4\nhttps://a.example/2.mp4\n")
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    for name in ("demo", "captions"):
        config.pop(name, None)
    (tmp_path / "prompts.txt").write_text("a box\n")
    config["sample"]["prompts"] = "prompts.txt"
    config["sources"] = [
        {"name": "web", "videos": ["web"], "repeat": 2.0},
        {"name": "own", "videos": ["own"]},
        {"name": "far", "fetch": {"list": "far.csv"}},
    ]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["plan", "run.yaml", "--sources"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split()[0]: line.split() for line in lines if line.split()}
    assert cells["web"][1:] == ["3", "2", "66.67", "%", "2"]
    assert cells["far"][1:] == ["2", "22.22", "%", "1"]
    assert "by files" in lines[-1]
    for source, weight in zip(config["sources"], (3, 1, 1), strict=True):
        source.pop("repeat", None)
        source["weight"] = weight
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["plan", "run.yaml", "--sources"]) == 0
    out = capsys.readouterr().out
    assert "60.00 %" in out
    assert "within one clip" in out
    assert main(["plan", "run.yaml", "--sources", "--explain"]) == EXIT_USER
    config.pop("sources")
    config["videos"] = ["web"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["plan", "run.yaml", "--sources"]) == EXIT_USER
    assert "has no `sources`" in capsys.readouterr().err
