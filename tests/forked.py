"""Commands in processes of their own that need not load their libraries anew.

A server loads them once for a process of tests, computes nothing, and forks for each command: a
training by two workers starts in tenths of a second instead of ten seconds of two cores. What is
claimed of starting itself (signals, options of the interpreter) is tested by real starts.
"""

import atexit
import contextlib
import importlib
import io
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[1]
TRAINING = "opensora.cli.main"
PRELOADED = {
    TRAINING: ("opensora.training.loop", "opensora.cli.train", "opensora.sampling.run"),
    "snakemake": (
        *("snakemake.cli", "snakemake.workflow", "opensora.dag.settings", "pandas"),
        # what `opensora check` loads, which the workflow asks at its start
        *("opensora.cli.check", "opensora.curation.manifest.early", "opensora.training.ready"),
        *("opensora.encoders.train_clip", "opensora.encoders.train_vae", "opensora.dag.early"),
        *("opensora.encoders.train_text_encoder", "opensora.sampling.checks"),
    ),
}
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def run(
    module: str,
    *words: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 500,
) -> "subprocess.CompletedProcess[str]":
    """What `python -m MODULE WORDS` says and ends with.

    Args:
        module: for -m.
        words: after it.
        env: variables beside those of this process.
        cwd: folder to run in; that of this process where it is left out.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    return together(module, [words], env=env, cwd=cwd, timeout=timeout)[0]


def together(
    module: str,
    commands: Sequence[Sequence[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 500,
) -> list["subprocess.CompletedProcess[str]"]:
    """The same of several that run at once; `commands` has the words of each."""
    with tempfile.TemporaryDirectory() as folder:
        said = [[f"{folder}/{k}.{name}" for name in ("out", "err")] for k in range(len(commands))]
        asked = {
            "words": [["-m", module, *words] for words in commands],
            **{"said": said, "env": {**os.environ, **(env or {})}, "cwd": str(cwd or Path.cwd())},
        }
        server = _server(module if module in PRELOADED else TRAINING)
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            server.stdin.write(json.dumps(asked).encode() + b"\n")
            server.stdin.flush()
            if not select.select([server.stdout], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired([module, *map(str, commands)], timeout)
            codes = json.loads(server.stdout.readline())
        except BaseException:  # what was begun must not outlive the test
            _end(server)
            _server.cache_clear()
            raise
        texts = [[Path(path).read_text() for path in paths] for paths in said]
    return [
        subprocess.CompletedProcess([module, *words], code, *text)
        for words, code, text in zip(commands, codes, texts, strict=True)
    ]


@cache
def _server(module: str) -> "subprocess.Popen[bytes]":
    """The server of a module, started by the first who asks and ended with this process."""
    command = [sys.executable, "-m", "tests.forked", *PRELOADED[module]]
    pipe = subprocess.PIPE
    paths = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    server = subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        cwd=ROOT,
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": paths},
        start_new_session=True,
    )
    atexit.register(_end, server)
    return server


def _end(server: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def serve() -> None:
    """Load modules, then fork for each line of standard input; exit codes are a line of output.

    A child has the group of the server, so that nothing outlives a test that was given up.
    """
    for name in sys.argv[1:]:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    while line := sys.stdin.readline():
        asked = json.loads(line)
        children = []
        for words, said in zip(asked["words"], asked["said"], strict=True):
            if not (child := os.fork()):
                answers.close()
                os.chdir(asked["cwd"])
                for number, path in enumerate((os.devnull, *said)):
                    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
                become(words, asked["env"])
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        answers.write(f"{json.dumps(codes)}\n")
        answers.flush()
    os._exit(0)  # whoever asked is gone: there is nothing to tidy up


def become(words: Sequence[str], env: Mapping[str, str]) -> None:
    """Be the process that `python WORDS` is, from here to its end."""
    code: Any = 1
    try:
        os.environ.clear()
        os.environ.update(env)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)
        for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, buffering=1, closefd=False))  # noqa: SIM115
            setattr(sys, f"__{name}__", getattr(sys, name))
        _let_launchers_fork()
        _let_checks_fork()
        sys.argv = [words[1], *words[2:]]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(io.UnsupportedOperation, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(int(code or 0))


class Forked:
    """A worker that a launcher forks, where it would start one: as much of Popen as it uses."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            become(words[1:], env)

    def poll(self) -> int | None:
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _let_launchers_fork() -> None:
    """A launcher of workers forks them from itself, which has computed nothing either."""
    launcher = sys.modules.get("opensora.acceleration.launch")
    if launcher is not None:
        forks = SimpleNamespace(Popen=Forked, run=subprocess.run)
        launcher.subprocess = forks  # type: ignore[attr-defined]


def _let_checks_fork() -> None:
    """Snakemake's process forks what it asks before its first job, for the same reason."""
    early = sys.modules.get("opensora.dag.early")
    if early is not None:
        early.subprocess = SimpleNamespace(run=_run_forked)  # type: ignore[attr-defined]


def _run_forked(words: Sequence[str], **_: Any) -> "subprocess.CompletedProcess[str]":
    """As much of `subprocess.run` as the check needs."""
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("out", "err")]
        if not (child := os.fork()):
            for number, path in enumerate(said, start=1):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
            become(words[1:], dict(os.environ))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out, err = (path.read_text() for path in said)
    return subprocess.CompletedProcess(list(words), code, out, err)


if __name__ == "__main__":
    serve()
