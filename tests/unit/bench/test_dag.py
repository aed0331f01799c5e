"""`opensora bench dag` compares with a workflow of the same shape; no test looks at a clock."""

import json
import os
from pathlib import Path

import pytest

from opensora.bench import dag
from opensora.cli.main import main
from opensora.core.errors import OpenSoraError

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_have_the_same_jobs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(REPOSITORY)
    words = ["--shards", "3", "--files", "5", "--output", f"{tmp_path}/found.json"]
    assert main(["bench", "dag", *words]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    (dry,), (start,) = found["dry_runs"], found["job_starts"]
    assert dry["ours"]["jobs"] == dry["bare"]["jobs"] > 8 * 3
    assert start["ours"]["jobs"] == start["bare"]["jobs"] == 1
    assert all(dry[who][name] > 0 for who in ("ours", "bare") for name in dag.Cost.__annotations__)
    said = capsys.readouterr().out
    assert "snakemake -n" in said
    assert "times a bare one's CPU" in said


def test_another_shape_is_refused(tmp_path: Path, monkeypatch) -> None:
    counts = iter([dag.Cost(1.0, 1.0, 1, 30), dag.Cost(1.0, 1.0, 1, 29)])
    monkeypatch.setattr(dag, "_call", lambda words: next(counts))
    with pytest.raises(OpenSoraError, match="ours has 30 jobs and the bare workflow 29; bring"):
        dag.bench_dag([1], repository=REPOSITORY, files=1, repeats=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shards", "0"], "argument --shards: expected a whole number of at least 1, not '0'"),
        ([], "no Snakefile; run this in the folder of the workflow"),
    ],
)
def test_mistakes_are_sentences(words: list[str], message: str, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "dag", *words]) == 2
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
