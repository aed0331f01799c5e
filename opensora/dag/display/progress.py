"""Snakemake's log events as one line for the whole DAG; profiles/local turns it on.

Everything that Snakemake says stands in .snakemake/log/, as without this. On a terminal one line
is drawn again and again; elsewhere a line is written when a job ends, and every 30 s while none
does. Dry runs, `--verbose` and what runs no job (`--summary`, `--unlock`, ...) look as Snakemake
makes them.
"""

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from opensora.dag import failure
from opensora.dag.display import line
from opensora.dag.display.curated import RULES as CURATING
from opensora.dag.display.curated import kept_line
from opensora.dag.display.job_progress import JobProgress, read_job_progress
from opensora.dag.display.screen import Screen
from opensora.dag.estimate import Records, read_records, time_left
from opensora.dag.state import DagJob, DagRun

REPORT_RULE = "report"
_TICK_S = 1.0
_DRAW_S = 0.1  # at least between two drawings, however fast records come
_SECONDS_BETWEEN_LINES = 30.0  # where lines can not be redrawn
# so long a message waits for what explains it: the run's start, or the job that it is about
_HOLD_S = 1.0
# texts of Snakemake that have no event of their own
_UP_TO_DATE = "Nothing to be done"
_JOBS_FAILED = ("Exiting because a job execution failed", "At least one job did not complete")
_INTERRUPTED = "Terminating processes on user request"
_TERMINATED = "Will exit after finishing currently running"
_LOG_FILE = "Complete log(s): "
_CHATTER = ("Select jobs", "Using shell", "Conda environments: ignored", "Elapsed time")
_OF_A_COMMAND = "CalledProcessError"
_WITHOUT_OUTPUT = re.compile(r"Job (\d+) completed successfully, but")


class LogHandler(LogHandlerBase):
    """The display of a run."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = True

    def __post_init__(self) -> None:
        """Take the settings of the command line."""
        settings = self.common_settings
        quiet = set(settings.quiet or ())
        self.run = DagRun(started=time.time())
        self.records: Records | None = None
        silent = Quietness.ALL in quiet and not settings.dryrun
        self._plain = settings.dryrun or settings.verbose or settings.debug_dag
        self._is_quiet = Quietness.PROGRESS in quiet
        self._shows_progress = not (self._plain or silent or self._is_quiet)
        stream = sys.stdout if settings.stdout else sys.stderr
        self._snakemake = _snakemakes_own(settings, stream, quiet)
        self._screen = Screen(
            stream,
            redraws=self._shows_progress and stream.isatty() and os.environ.get("TERM") != "dumb",
            colours=not self._snakemake.nocolor,
            silent=silent,
        )
        self._draws_nothing = self._shows_progress and not self._screen.redraws
        self._home = os.getcwd()
        self._begun = self._ended = self._closed = self._up_to_date = False
        self._has_error = self._interrupted = False
        self._config = self._report = self._log_file = self._kept = ""
        self._status = "starting"
        self._held: list[tuple[float, logging.LogRecord]] = []
        self._repeat = False  # whether other lines stand below those of a failure
        self._take: dict[LogEvent | None, Callable[[Any], None]] = {
            None: self._message,
            LogEvent.WORKFLOW_STARTED: self._workflow_started,
            LogEvent.RULEGRAPH: self._rule_graph,
            LogEvent.RESOURCES_INFO: self._resources,
            LogEvent.RUN_INFO: self._run_info,
            LogEvent.JOB_INFO: self._job_info,
            LogEvent.SHELLCMD: self._shell_command,
            LogEvent.JOB_FINISHED: self._job_finished,
            LogEvent.JOB_ERROR: self._job_error,
            LogEvent.ERROR: self._error,
        }
        if not settings.dryrun:
            self._stop = threading.Event()
            threading.Thread(target=self._tick_until_closed, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one of Snakemake's records."""
        try:
            if self._plain:
                self._snakemake.handle(record)
            if not self.common_settings.dryrun:
                self._take.get(getattr(record, "event", None), _ignore)(record)
                if time.time() - self._screen.drawn >= _DRAW_S:
                    self._draw()
        except BrokenPipeError:  # as behind `| head`
            self._screen.hang_up()
        except Exception:  # as logging asks: a display that breaks must not end the run
            self.handleError(record)

    def close(self) -> None:
        """Say what became of the run."""
        self.acquire()
        try:
            if not self._closed and not self.common_settings.dryrun:
                self._closed = True
                self._stop.set()
                interrupted = isinstance(sys.exc_info()[1], KeyboardInterrupt)
                if interrupted:  # while the job graph was built; no defect, so no traceback
                    sys.excepthook = _no_traceback
                self._release_held(all_of_them=True)
                for text in self._ending(interrupted):
                    self._say(text)
        except BrokenPipeError:
            self._screen.hang_up()
        finally:
            self.release()
        super().close()

    # what Snakemake says

    def _message(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if report := getattr(record, "opensora_report", ""):
            self._report = report
        elif record.levelno >= logging.WARNING:
            if not text.startswith(_JOBS_FAILED):
                self._show(record)
        elif text.startswith(_UP_TO_DATE):
            self._up_to_date = True
        elif text.startswith((_INTERRUPTED, _TERMINATED)):
            self._interrupted = text.startswith(_INTERRUPTED)  # the jobs, too
            if not self.run.stopping:
                self._say("stopping, when the jobs that run have ended or saved how far they are")
            self.run.stopping = True
        elif text.startswith(_LOG_FILE):
            self._log_file = text.removeprefix(_LOG_FILE)
            self._ended = True
        elif self._begun and not text.startswith(_CHATTER):
            self._status = text.strip().partition("\n")[0].rstrip(".")
        elif not self._begun:  # where nothing runs, as for `--unlock`, this is the answer
            self._held.append((time.time(), record))

    def _workflow_started(self, record: Any) -> None:
        self._begun = True
        self._held.clear()
        self._config = str(record.configfiles[-1]) if record.configfiles else ""

    def _rule_graph(self, record: Any) -> None:
        self.run.follows = {node["rule"]: set() for node in record.rulegraph["nodes"]}
        for link in record.rulegraph["links"]:
            self.run.follows[link["targetrule"]].add(link["sourcerule"])

    def _resources(self, record: Any) -> None:
        self.run.cores = getattr(record, "cores", None) or self.run.cores

    def _run_info(self, record: Any) -> None:
        self.run.counts = {rule: n for rule, n in record.stats.items() if rule != "total"}
        if self._draws_nothing:
            self._say(f"{line.count(self.run.total, 'job')} to run")

    def _job_info(self, record: Any) -> None:
        job = DagJob(
            number=record.jobid,
            rule=record.rule_name,
            wildcards=tuple(str(value) for value in record.wildcards.values()),
            outputs=tuple(map(str, record.output)),
            logs=tuple(map(str, record.log)),
            benchmark=str(record.benchmark or ""),
            threads=record.threads,
            started=record.created,
        )
        if job.number in self.run.failed:
            self._say(f"{job.name}: another try")
        self.run.start(job)
        self._status = ""
        if self.records is None and job.run:
            folder = Path(job.benchmark).parts[0]
            self.records = read_records(folder, job.run, self._config)

    def _shell_command(self, record: Any) -> None:
        if self.common_settings.printshellcmds and record.shellcmd:
            self._say(record.shellcmd)

    def _job_finished(self, record: Any) -> None:
        ended = self.run.finish(record.job_id, record.created)
        if ended and ended[0].rule in CURATING:
            self._kept = kept_line(ended[0].outputs)
        if ended and ended[0].outputs and self._draws_nothing:
            self._say(line.finished_line(self.run, *ended, self._left(self._inner())))

    def _job_error(self, record: Any) -> None:
        job = self.run.running.get(record.jobid)
        name = job.name if job else record.rule_name
        text = self._text_about(record.shellcmd)
        if self._interrupted:  # it ends because it was told to
            self.run.running.pop(record.jobid, None)
            return
        reason, log = failure.why(
            [str(path) for path in record.log], error=text, message=record.rule_msg or ""
        )
        self._fail(
            record.jobid, failure.JobFailure(record.rule_name, name, reason, self._path(log))
        )

    def _error(self, record: Any) -> None:
        text = record.getMessage()
        if any(words in text for words in _JOBS_FAILED):
            return
        if _OF_A_COMMAND in text and self.run.running:
            self._held.append((time.time(), record))  # the job's own event follows
            return
        self._has_error = True
        self._show(record)
        if found := _WITHOUT_OUTPUT.search(text):
            job = self.run.running.get(int(found[1]))
            if job is not None:
                reason = "it ended well, but files that it should have made are missing"
                log = self._path(job.logs[0]) if job.logs else ""
                self._fail(job.number, failure.JobFailure(job.rule, job.name, reason, log))

    def _fail(self, number: int, failed: failure.JobFailure) -> None:
        self.run.fail(number, failed)
        if not self._plain:
            for text in failed.lines():
                self._say(text, is_error=True)

    def _text_about(self, command: str | None) -> str:
        """Take Snakemake's text about a command that failed out of those held back."""
        for k, (_, record) in enumerate(self._held):
            text = record.getMessage()
            if _OF_A_COMMAND in text and (command or "").strip() in text:
                del self._held[k]
                return text
        return ""

    # what people see

    def _tick_until_closed(self) -> None:
        while not self._stop.wait(_TICK_S):
            self.acquire()
            try:
                if not self._closed:
                    self._tick()
            except BrokenPipeError:
                self._screen.hang_up()
            except OSError:  # the terminal was closed
                return
            finally:
                self.release()

    def _tick(self) -> None:
        self._release_held()
        self._draw()
        waited = time.time() - self._screen.said
        if self._draws_nothing and self.run.running and waited >= _SECONDS_BETWEEN_LINES:
            self._say(self._progress_line())

    def _draw(self) -> None:
        over = self._ended or self._up_to_date or self._closed
        if self._screen.redraws and self._begun and not over:
            self._screen.draw(self._progress_line(self._screen.columns()))

    def _progress_line(self, columns: int = 1000) -> str:
        inner, status = self._inner(), self._status
        left = self._left(inner)
        return line.progress_line(self.run, inner, left, status=status, columns=columns)

    def _inner(self) -> dict[int, JobProgress]:
        found = {number: read_job_progress(job) for number, job in self.run.running.items()}
        return {number: inner for number, inner in found.items() if inner is not None}

    def _left(self, inner: dict[int, JobProgress]) -> float | None:
        if self.records is None:
            return None
        return time_left(self.run, self.records, inner, time.time())

    def _say(self, text: str, *, is_error: bool = False) -> None:
        """Write a line that stays."""
        self._screen.say(text, is_error=is_error)
        self._repeat = self._repeat or (bool(self.run.failed) and not is_error)

    def _show(self, record: logging.LogRecord) -> None:
        """Show a record as Snakemake does."""
        if not self._plain:
            self._screen.wipe()
            self._snakemake.handle(record)
            self._repeat = self._repeat or bool(self.run.failed)

    def _release_held(self, all_of_them: bool = False) -> None:
        now = time.time()
        while self._held and (all_of_them or now - self._held[0][0] >= _HOLD_S):
            self._show(self._held.pop(0)[1])

    def _ending(self, interrupted: bool) -> list[str]:
        run = self.run
        self._screen.wipe(foreign=interrupted)
        if interrupted:
            return ["stopped"]
        if self._up_to_date:
            return ["Nothing to be done, all is up to date", *self._report_lines()]
        if not run.total:
            return []
        texts = []
        if run.failed and (self._repeat or self._plain):
            texts = [text for failed in run.failed.values() for text in failed.lines()]
        if self._has_error and not run.failed:  # shown above; no job is to blame
            return []
        is_counted = not self._is_quiet
        texts.append(line.ending(run, time.time() - run.started, is_counted))
        if not (run.failed or run.stopping) and (run.done == run.total or self._is_quiet):
            return texts + [self._kept][: bool(self._kept)] + self._report_lines()
        if run.failed and self._log_file:
            texts.append(f"all that Snakemake said: {self._path(self._log_file)}")
        return texts

    def _report_lines(self) -> list[str]:
        """Name the report where it belongs to what was asked for."""
        if REPORT_RULE in self.run.follows and self._report and Path(self._report).exists():
            return [f"report: {self._path(self._report)}"]
        return []

    def _path(self, path: str) -> str:
        """A path as the user can open it: they may have asked for another `--directory`."""
        if not path:
            return ""
        whole = os.path.abspath(path)
        inside = os.path.relpath(whole, self._home)
        return whole if inside.startswith("..") else inside


def _snakemakes_own(settings: Any, stream: Any, quiet: set[Quietness]) -> ColorizingTextHandler:
    """What shows records where no plugin is asked for."""
    return ColorizingTextHandler(
        nocolor=settings.nocolor,
        stream=stream,
        formatter=DefaultFormatter(quiet, settings.show_failed_logs),
        filter=DefaultFilter(
            quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
        ),
    )


def _ignore(record: logging.LogRecord) -> None:
    pass


def _no_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    pass
