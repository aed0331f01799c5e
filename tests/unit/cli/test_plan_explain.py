"""`opensora plan --explain` refuses what it can not use; the dry run itself has its own tests."""

import pytest

from opensora.cli.main import EXIT_DONE, EXIT_USER, main
from opensora.dag import dry_run as dry_run_module
from opensora.dag.dry_run import PlannedJob


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run.yaml", "--explain", "--data-path", "m.csv"], "takes the workflow config"),
        (["run.yaml", "--explain", "--lr", "3"], "takes the workflow config"),
        (["stage.py", "--target", "train_all", "--data-path", "m.csv"], "belongs to --explain"),
        (["run.yaml"], "needs --data-path"),
        (["nowhere.yaml", "--explain"], "no such workflow config"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == EXIT_USER
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("opensora plan: ")
    assert sentence in error


def test_the_table_comes_before_the_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def planned(config: str, *, target: str) -> list[PlannedJob]:
        asked.append((config, target))
        return [PlannedJob("train", ["t"], [], "Missing output files: t", gpus=8)]

    monkeypatch.setattr(dry_run_module, "dry_run", planned)
    assert main(["plan", "--explain", "run.yaml"]) == EXIT_DONE
    header, rule, row, last = capsys.readouterr().out.splitlines()
    assert asked == [("run.yaml", "all")]
    assert header.split()[0] == "rule"
    assert set(rule) == {"-"}
    assert row.split() == ["train", "1", "output", "is", "missing", "unknown"]
    assert last == "plan: 1 job of 1 rule, 1 job without a record"
