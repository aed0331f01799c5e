import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opensora.core import lock as module
from opensora.core.errors import PassingError
from opensora.core.lock import SILENT_S, RunLock

HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from opensora.core.lock import RunLock\n"
    "with RunLock(Path(sys.argv[1]), 'is being trained') as lock:\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.readline()\n"
    "    lock.check()\n"
    "    print('wrote', flush=True)\n"
)


def hold(folder: Path, **variables: str) -> "subprocess.Popen[str]":
    """A process that holds the lock of a folder until it reads a line."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        **{"stdin": pipe, "stdout": pipe, "stderr": pipe, "text": True},
        env={**os.environ, **variables},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate("\n", timeout=60)
    return out + err


def record(folder: Path, **changes: object) -> None:
    """Change what the lock of a folder says of its process."""
    (path,) = folder.glob("lock.*")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def silent(folder: Path, seconds: float) -> None:
    """Let the last beat be so long ago."""
    (path,) = folder.glob("lock.*")
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_second_process_is_refused_and_comes_in_when_the_first_has_ended(tmp_path):
    process = hold(tmp_path)
    with pytest.raises(PassingError, match=rf"is being trained by process {process.pid} on \S+,"):
        RunLock(tmp_path, "is being trained").__enter__()
    assert "wrote" in end(process)
    with RunLock(tmp_path, "is being trained") as lock:
        lock.check()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_killed_process_holds_nothing(tmp_path):
    process = hold(tmp_path)
    process.kill()
    process.communicate()
    with RunLock(tmp_path, "is being trained") as lock:
        lock.check()


def test_a_number_given_to_another_process_is_not_the_old_one(tmp_path):
    process = hold(tmp_path)
    record(tmp_path, started="1")
    with RunLock(tmp_path, "is being trained"):
        assert "took this run over" in end(process)


def test_on_another_host_the_beat_tells(tmp_path):
    process = hold(tmp_path)
    # its number may be free here: that says nothing about a process of another host
    record(tmp_path, host="node7", pid=2**22 + 1)
    silent(tmp_path, SILENT_S - 20)
    with pytest.raises(PassingError, match="on node7"):
        RunLock(tmp_path, "is being trained").__enter__()
    silent(tmp_path, SILENT_S + 20)
    with RunLock(tmp_path, "is being trained"):
        assert "took this run over" in end(process)


def test_clocks_of_machines_do_not_matter(tmp_path, monkeypatch):
    process = hold(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(PassingError, match=r"heard of [01] s ago"):
        RunLock(tmp_path, "is being trained").__enter__()
    end(process)


def test_a_process_that_stood_still_finds_its_lock_gone_before_it_writes(tmp_path):
    process = hold(tmp_path)
    process.send_signal(signal.SIGSTOP)
    silent(tmp_path, SILENT_S + 1)
    with RunLock(tmp_path, "is being trained"):
        process.send_signal(signal.SIGCONT)
        said = end(process)
        assert "took this run over" in said
        assert "wrote" not in said
    with RunLock(tmp_path, "is being trained"):
        pass


def test_the_beat_keeps_a_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.05)
    with RunLock(tmp_path, "is being trained"):
        silent(tmp_path, SILENT_S + 1)
        time.sleep(1)
        with pytest.raises(PassingError, match="is being trained"):
            RunLock(tmp_path, "is being trained").__enter__()


def test_of_many_processes_one_takes_an_old_lock_over(tmp_path):
    hold(tmp_path).kill()
    code = HOLD.replace("sys.stdin.readline()", "time.sleep(5)")
    code = f"import time; time.sleep({time.time()} + 4 - time.time())\n{code}"
    words = [sys.executable, "-c", code, str(tmp_path)]
    pipe = subprocess.PIPE
    crowd = [subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) for _ in range(6)]
    said = ["".join(process.communicate(timeout=120)) for process in crowd]
    assert sum("held" in text for text in said) == 1, said
    assert sum("is being trained by process" in text for text in said) == 5


@pytest.mark.parametrize(
    ("answer", "code", "free"),
    [
        ("RUNNING", 0, False),
        ("COMPLETING", 0, False),
        ("PENDING", 0, True),
        ("", 0, True),
        ("slurm_load_jobs error: Invalid job id specified", 1, True),
        ("slurm_load_jobs error: Unable to contact slurm controller", 1, False),
    ],
)
def test_the_scheduler_tells_whether_a_job_is_over(tmp_path, monkeypatch, answer, code, free):
    squeue = tmp_path / "bin/squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/sh\necho '{answer}' >&{2 if code else 1}\nexit {code}\n")
    squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=os.pathsep)
    process = hold(tmp_path, SLURM_JOB_ID="71")
    record(tmp_path, host="node7")
    mine = RunLock(tmp_path, "is being trained")
    if free:
        with mine:
            pass
    else:
        with pytest.raises(PassingError, match="job 71"):
            mine.__enter__()
    end(process)


@pytest.mark.parametrize(("restarts", "free"), [("1", True), ("0", False)])
def test_a_job_that_begins_anew_takes_its_own_lock(tmp_path, monkeypatch, restarts, free):
    process = hold(tmp_path, SLURM_JOB_ID="71", SLURM_RESTART_COUNT="0")
    record(tmp_path, host="node7")
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    mine = RunLock(tmp_path, "is being trained")
    if free:
        with mine:
            pass
    else:
        with pytest.raises(PassingError, match="job 71"):
            mine.__enter__()
    end(process)
