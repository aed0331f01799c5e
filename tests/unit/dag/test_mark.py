"""A try that only the user can mend leaves a mark; others do not."""

import subprocess
import sys
from pathlib import Path

import pytest

from opensora.dag.failure import why
from opensora.dag.mark import leave, remove_marks


def tried(log: Path, *words: str) -> int:
    """Run a command as a rule does."""
    command = [sys.executable, "-m", "opensora.cli.main", *words, "--job-log", str(log)]
    with open(log, "ab") as output:
        return subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, timeout=60, check=False
        ).returncode


def test_a_retry_with_nothing_changed_says_the_same_at_once(tmp_path: Path) -> None:
    log = tmp_path / "logs/caption_clips/demo/0000.log"
    log.parent.mkdir(parents=True)
    table = tmp_path / "clips.csv"
    table.write_text("nothing\n")
    words = ("caption-clips", "--clips", str(table), "--output", str(tmp_path / "captions.csv"))
    words = (*words, "--captioner", "template")
    assert tried(log, *words) == 2
    first, path = why([str(log)])
    assert path == str(log)
    mark = Path(f"{log}.mark")
    assert first in mark.read_text()
    mark.write_text(mark.read_text().replace(first, "as it was said before"))
    assert tried(log, *words) == 2
    assert why([str(log)])[0] == "as it was said before"
    assert log.read_text().count("=== opensora caption-clips on ") == 2  # appended
    log.unlink()  # as Snakemake does before a try
    table.write_text("nothing either\n")  # what is changed is tried
    assert tried(log, *words) == 2
    assert why([str(log)])[0] == first
    assert log.read_text().count("=== opensora caption-clips on ") == 3
    assert remove_marks(tmp_path / "logs", "demo") == 1
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("opensora train: no data\n", True),
        ("opensora train: no data\nopensora train: worker 1 ended with exit code 2, which\n", True),
        ("opensora train: worker 1 ended with exit code 1; its lines say why\n", False),
        ("opensora train: a: could not be written (No space left on device); free\n", False),
        ("opensora train: no data\n=== opensora train on n, then\nslurmstepd: error\n", False),
    ],
)
def test_only_what_a_user_can_mend_is_marked(text: str, marked: bool, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(text)
    leave(log, ["train"])
    assert Path(f"{log}.mark").exists() == marked


def test_a_sentence_of_an_earlier_try_is_not_taken_for_that_of_the_last(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("opensora train: no data\n=== opensora train on node1, 2026-01-01 10:00:00\n")
    error = "Command 'x' died with <Signals.SIGKILL: 9>."
    assert why([str(log)], error)[0] == "killed by SIGKILL, and its log is empty"
