"""The sentence of a failed job is found in its log, whatever else stands there."""

from pathlib import Path

import pytest

from opensora.dag.failure import JobFailure, exit_status, sentence, why

TRACEBACK = """\
2026-01-01 10:00:00 INFO opensora.progress train done=5/9 seconds=20
Traceback (most recent call last):
  File "loop.py", line 3, in <module>
    step()
  File "loop.py", line 9, in step
    raise ValueError("first")
ValueError: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "loop.py", line 5, in <module>
    raise RuntimeError("shapes 3 and 4 differ")
RuntimeError: shapes 3 and 4 differ
with a second line
"""
WORKERS = """\
opensora train: configs/a.py: unknown field 'lrr'; did you mean 'lr'?
E0101 10:00:00.000 torch/distributed/elastic/api.py:882] failed (exitcode: 2) local_rank: 0
opensora train: worker 0 ended with exit code 2, which it can not mend by itself; its lines say why
"""
OF_A_RANK = """\
[rank1]: Traceback (most recent call last):
[rank1]:   File "loop.py", line 5, in <module>
[rank1]: torch.OutOfMemoryError: CUDA out of memory
opensora train: worker 1 ended with exit code 1; its lines say why
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("opensora build-manifest: no clip: give one\n", "no clip: give one"),
        ("opensora: no command 'trai'; see --help", "no command 'trai'; see --help"),
        (TRACEBACK, "RuntimeError: shapes 3 and 4 differ"),
        (WORKERS, "configs/a.py: unknown field 'lrr'; did you mean 'lr'?"),
        (OF_A_RANK, "torch.OutOfMemoryError: CUDA out of memory"),
        (TRACEBACK + "opensora train: stopped: after step 5", "stopped: after step 5"),
        ("opensora train: old\n" + TRACEBACK, "RuntimeError: shapes 3 and 4 differ"),
        ("2026-01-01 10:00:00 INFO opensora.progress train done=5/9 seconds=20", ""),
        ("train: 5 steps, loss 0.1", ""),
        ("", ""),
    ],
)
def test_the_last_complaint_is_the_sentence(text: str, expected: str) -> None:
    assert sentence(text) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("Command 'x' returned non-zero exit status 2.", "exit status 2"),
        ("Command 'x' died with <Signals.SIGKILL: 9>.", "killed by SIGKILL"),
        ("something else", ""),
    ],
)
def test_the_exit_status_stands_in_the_text_of_the_command(error: str, expected: str) -> None:
    assert exit_status(error) == expected


def test_a_log_without_a_complaint_is_no_sentence(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    error = "Command 'x' died with <Signals.SIGKILL: 9>."
    assert why([], error)[0] == "killed by SIGKILL; it has no log"
    assert why([str(log)], error) == ("killed by SIGKILL, and its log is empty", str(log))
    log.write_text("2026-01-01 10:00:00 INFO opensora.progress train done=5/9 seconds=20\n")
    assert why([str(log)], error)[0].startswith("killed by SIGKILL without an error message")
    log.write_text("bash: line 1: opensora: command not found\n")
    assert why([str(log)])[0] == "bash: line 1: opensora: command not found (it ended)"
    assert why([str(log)], message="the node is down") == ("the node is down", str(log))


def test_the_log_that_holds_the_sentence_is_named(tmp_path: Path) -> None:
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_text("nothing here\n")
    second.write_text("opensora train: no data\n")
    assert why([str(first), str(second)]) == ("no data", str(second))


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("line\n" * 100_000 + "opensora train: no data\n")
    assert why([str(log)]) == ("no data", str(log))


def test_a_failure_names_its_job_and_its_log() -> None:
    failure = JobFailure("train", "train stage1", "no data", "logs/a.log")
    assert failure.lines() == ["train stage1 failed: no data", "log: logs/a.log"]
    stopped = JobFailure("train", "train stage1", "stopped: after step 5", "")
    assert stopped.lines() == ["train stage1 stopped: after step 5"]
