"""The display says what matters of Snakemake's records, once."""

import io
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from snakemake.settings.enums import Quietness
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent

from opensora.dag.display import progress
from opensora.dag.display.progress import LogHandler

COMMAND = "opensora train a.py > logs/train.log 2>&1"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Play:
    """A display that is told what Snakemake would tell it."""

    def __init__(self, stream: io.StringIO | None = None, **settings: Any) -> None:
        self.stream = stream or io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout" if settings.get("stdout") else "stderr", self.stream)
            self.handler = LogHandler(OutputSettings(**settings), None)

    def tell(self, event: LogEvent | None = None, message: str = "", **fields: Any) -> "Play":
        values = {"name": "snakemake", "levelno": logging.INFO, "levelname": "INFO"}
        self.handler.handle(
            logging.makeLogRecord({**values, "msg": message, **fields, "event": event})
        )
        return self

    def complain(self, event: LogEvent | None, message: str, **fields: Any) -> "Play":
        return self.tell(event, message, levelno=logging.ERROR, levelname="ERROR", **fields)

    def begin(self, *names: str, **counts: int) -> "Play":
        """The job graph stands; it has the given rules, and those that have jobs."""
        nodes = [{"rule": name} for name in [*names, *counts]]
        self.tell(LogEvent.WORKFLOW_STARTED, "Workflow has started!", configfiles=[])
        self.tell(None, "Building DAG of jobs...")
        self.tell(LogEvent.RULEGRAPH, rulegraph={"nodes": nodes, "links": []})
        self.tell(LogEvent.RESOURCES_INFO, "Provided cores: 2", cores=2)
        if counts:
            stats = {**counts, "total": sum(counts.values())}
            self.tell(LogEvent.RUN_INFO, "Job stats: ...", stats=stats)
        return self

    def start(
        self, number: int, rule: str = "train", stage: str = "stage1", output: Sequence[str] = ()
    ) -> "Play":
        return self.tell(
            LogEvent.JOB_INFO,
            **{"jobid": number, "rule_name": rule, "wildcards": {"stage": stage}, "threads": 1},
            **{
                "output": list(output) or [f"{stage}.safetensors"],
                "log": ["logs/train.log"],
                "benchmark": None,
            },
            **{"shellcmd": COMMAND, "created": 100.0},
        )

    def finish(self, number: int, seconds: float = 5.0) -> "Play":
        return self.tell(LogEvent.JOB_FINISHED, job_id=number, created=100.0 + seconds)

    def fail(self, number: int, log: Path) -> "Play":
        text = (
            f"RuleException:\nCalledProcessError in file x:\nCommand '{COMMAND}' returned non-zero"
        )
        self.complain(LogEvent.ERROR, f"{text} exit status 2.", exception="RuleException")
        return self.complain(
            LogEvent.JOB_ERROR,
            f"Error in rule train, jobid: {number}",
            **{"jobid": number, "rule_name": "train", "rule_msg": None, "log": [str(log)]},
            shellcmd=COMMAND,
        )

    def end(self) -> list[str]:
        """Close, and return the lines that were written."""
        self.handler.close()
        return self.stream.getvalue().removesuffix("\n").split("\n")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def raise_again(handler: logging.Handler, record: logging.LogRecord) -> None:
        raise  # the error that emit() is handling

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LogHandler, "handleError", raise_again)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "logs/train.log"
    path.parent.mkdir()
    path.write_text("opensora train: no data\n")
    return path


def test_a_run_is_a_line_a_job() -> None:
    play = Play().begin(train=2).start(1).start(2, stage="stage2").finish(1).finish(2, 65.0)
    lines = play.end()
    assert lines[:3] == [
        "2 jobs to run",
        "1 of 2 jobs · train stage1 in 5 s",
        "2 of 2 jobs · train stage2 in 65 s",
    ]
    assert lines[3].startswith("2 jobs done in ")
    assert len(lines) == 4


def test_targets_have_no_line() -> None:
    play = Play().begin(all=1).start(1, "all")
    play.handler.run.running[1] = progress.DagJob(1, "all")
    assert [line.split(" in ")[0] for line in play.finish(1).end()] == [
        "1 job to run",
        "1 job done",
    ]


def test_a_long_job_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play().begin(train=1).start(1)
    play.handler._tick()
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    play.handler._tick()
    assert play.end()[:2] == ["1 job to run", "train stage1 · 0 of 1 job"]


def test_a_failed_job_is_two_lines(log: Path) -> None:
    lines = Play().begin(train=2).start(1).fail(1, log).end()
    assert lines[1:3] == ["train stage1 failed: no data", "log: logs/train.log"]
    assert lines[3].startswith("1 of 2 jobs failed, 0 done, 1 not run, in ")
    assert len(lines) == 4


def test_a_failure_is_repeated_where_other_lines_came_since(log: Path) -> None:
    lines = Play().begin(train=2).start(1).start(2).fail(1, log).finish(2).end()
    assert [line for line in lines if "failed: " in line] == ["train stage1 failed: no data"] * 2
    assert lines[-3:-1] == ["train stage1 failed: no data", "log: logs/train.log"]


def test_snakemakes_own_words_about_failed_jobs_are_left_out(log: Path) -> None:
    play = Play().begin(train=1).start(1).fail(1, log)
    play.complain(None, "Exiting because a job execution failed. Look above for error messages")
    play.tell(None, "Complete log(s): /somewhere/a.snakemake.log")
    text = "WorkflowError:\nAt least one job did not complete successfully."
    lines = play.complain(LogEvent.ERROR, text, exception="WorkflowError").end()
    assert len(lines) == 5
    assert lines[-1] == "all that Snakemake said: /somewhere/a.snakemake.log"


def test_a_job_that_is_tried_again_may_end_well(log: Path) -> None:
    lines = Play().begin(train=1).start(1).fail(1, log).start(1).finish(1).end()
    assert "train stage1: another try" in lines
    assert lines[-1].startswith("1 job done in ")


def test_a_job_without_its_output_has_failed() -> None:
    text = (
        "MissingOutputException in rule train in file x:\nJob 1 completed successfully, but some"
        " output files are missing.\nstage1.safetensors (missing locally)"
    )
    play = Play().begin(train=1).start(1)
    lines = play.complain(LogEvent.ERROR, text, exception="MissingOutputException").end()
    assert "stage1.safetensors (missing locally)" in lines
    assert lines[-1].startswith("1 of 1 job failed")


def test_an_error_outside_of_jobs_is_shown_whole_and_once() -> None:
    text = "MissingInputException in rule train:\nMissing input files:\n  a.csv"
    lines = Play().begin("train").complain(LogEvent.ERROR, text, exception="X").end()
    assert lines == text.splitlines()


def test_an_error_of_a_command_that_no_job_claims_is_shown() -> None:
    text = "RuleException:\nCalledProcessError: Command 'x' returned non-zero exit status 1."
    lines = Play().begin(train=1).start(1).complain(LogEvent.ERROR, text, exception="X").end()
    assert text.splitlines()[1] in lines


def test_warnings_are_shown() -> None:
    play = Play().begin(train=1)
    play.tell(None, "a file is old", levelno=logging.WARNING, levelname="WARNING")
    assert "a file is old" in play.end()


def test_a_stopped_job_has_not_failed(log: Path) -> None:
    play = Play().begin(train=2).start(1)
    play.tell(None, "Terminating processes on user request, this might take some time.")
    lines = play.fail(1, log).end()
    assert not [line for line in lines if "failed" in line]
    assert lines[-1].startswith("stopped after ")


def test_a_job_that_fails_while_the_others_are_awaited_has_failed(log: Path) -> None:
    play = Play().begin(train=2).start(1)
    play.tell(None, "Will exit after finishing currently running jobs (scheduler).")
    lines = play.fail(1, log).end()
    assert "train stage1 failed: no data" in lines
    assert lines[-1].startswith("stopped after ")


@pytest.mark.parametrize("is_goal", [True, False])
@pytest.mark.parametrize("counts", [{}, {"train": 1}])
def test_the_report_is_named_where_it_is_the_goal(
    is_goal: bool, counts: dict[str, int], tmp_path: Path
) -> None:
    (tmp_path / "index.html").touch()
    play = Play().tell(None, "", opensora_report="index.html")
    play.begin(*(["report"] if is_goal else ["manifest"]), **counts)
    if counts:
        play.start(1).finish(1)
    else:
        play.tell(None, "Nothing to be done (all requested files are present and up to date).")
    lines = play.end()
    assert (lines[-1] == "report: index.html") == is_goal
    assert any(line.startswith(("Nothing to be done", "1 job done in ")) for line in lines)


def test_what_curation_kept_is_told_at_the_end(tmp_path: Path) -> None:
    stages = [{"seconds_in": 9.0, "reasons": {"corrupt": {"rows": 1, "seconds": 1.0}}}]
    funnel = {"kept": {"rows": 3, "seconds": 8.0}, "stages": stages}
    (tmp_path / "funnel.json").write_text(json.dumps(funnel))
    outputs = [str(tmp_path / name) for name in ("funnel.json", "rejected.csv")]
    play = Play().begin(build_manifest=1)
    lines = play.start(1, "build_manifest", output=outputs).finish(1).end()
    assert lines[-2].startswith("1 job done in ")
    where = tmp_path / "rejected.csv"
    assert lines[-1] == f"kept: 3 clips, 8 s of 9 s; 1 row left out, each with its reason: {where}"


def test_a_report_that_is_not_there_is_not_named() -> None:
    play = Play().tell(None, "", opensora_report="index.html").begin("report", train=1)
    assert not [line for line in play.start(1).finish(1).end() if "report" in line]


def test_what_comes_before_a_run_is_shown_where_there_is_no_run() -> None:
    assert Play().tell(None, "Unlocked working directory.").end() == ["Unlocked working directory."]
    play = Play().tell(None, "Assuming unrestricted shared filesystem usage.").begin("train")
    assert play.end() == [""]


def test_quiet_leaves_out_the_progress(log: Path) -> None:
    quiet = {Quietness.PROGRESS, Quietness.RULES}
    lines = Play(quiet=quiet).begin(train=2).start(1).start(2).finish(2).fail(1, log).end()
    assert lines[0] == "train stage1 failed: no data"
    assert lines[2].startswith("1 of 2 jobs failed")
    assert Play(quiet={Quietness.ALL}).begin(train=1).start(1).fail(1, log).end() == [""]


def test_verbose_shows_snakemakes_log_and_the_end(log: Path) -> None:
    play = Play(verbose=True).begin(train=1)
    lines = play.tell(None, "Resources before job selection", levelno=logging.DEBUG).end()
    assert "Building DAG of jobs..." in lines
    assert "Resources before job selection" in lines


def test_shell_commands_are_shown_on_request() -> None:
    for wanted in (True, False):
        play = Play(printshellcmds=wanted).begin(train=1)
        lines = play.tell(LogEvent.SHELLCMD, "Shell command", shellcmd=COMMAND).end()
        assert (COMMAND in lines) == wanted


def test_a_dry_run_looks_as_snakemake_makes_it() -> None:
    play = Play(dryrun=True, stdout=True)
    play.tell(None, "Building DAG of jobs...").tell(LogEvent.RUN_INFO, "Job stats:", stats={})
    assert play.end() == ["Building DAG of jobs...", "Job stats:"]


def test_a_terminal_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_DRAW_S", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    play = Play(Terminal()).begin(train=2).start(1)
    play.tell(None, "a file is old", levelno=logging.WARNING, levelname="WARNING")
    lines = play.finish(1).start(2, stage="stage2").finish(2).end()
    drawn = [line.split("\r\x1b[2K") for line in lines]
    assert len(drawn) == 2  # the warning and what comes last; all else is drawn over
    assert drawn[0][-2] == "train stage1 · 0 of 2 jobs"
    assert "a file is old" in drawn[0][-1]
    assert "train stage2 · 1 of 2 jobs" in drawn[1]
    assert drawn[1][-1].startswith("2 jobs done in ")


def test_a_closed_stream_does_not_end_the_run() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            return null.fileno()

    with open("/dev/null", "w") as null:
        Play(Closed()).begin(train=1).start(1).finish(1).handler.close()
