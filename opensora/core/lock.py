"""A lock on a folder that a run writes to: one process at a time, on all machines that see it.

Locks are numbered files, and the highest number holds. Taking over means to create the next number,
which only one process can do (O_EXCL, also on NFS); nothing is ever renamed or deleted to take a
lock, so no process can remove what another one has just made. A released lock says so in its file.
Advisory locks of the system (flock) do not reach all file systems that clusters share.
"""

import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from opensora.core.errors import PassingError
from opensora.core.signals import STARTED_BY

log = logging.getLogger(__name__)

BEAT_S = 10.0
SILENT_S = 60.0  # who has not been heard of for so long has lost the lock
_LOOK_S = 1.0
_SQUEUE_S = 20.0


class RunLock:
    """The right to write to a folder, kept alive by a beat every ten seconds.

    A lock is taken over when its process is gone from this machine, when SLURM says that its job
    ended or has begun anew, or when its beat is older than a minute.

    Args:
        folder: what is written to; made where it is missing.
        what: said of the folder in the sentence that refuses, such as "is being trained".
    """

    def __init__(self, folder: Path, what: str) -> None:
        self._folder, self._what = folder, what
        self._number = 0
        self._left = threading.Event()
        self._record = {**_machine(), **_process(), **_job(), "token": uuid.uuid4().hex}

    def __enter__(self) -> "RunLock":
        """See `take`."""
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        """See `give_back`."""
        self.give_back()

    def take(self) -> None:
        """Take the lock; waits for a process that is about to end because its launcher has.

        Raises:
            PassingError: another process holds it, and will end some time.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        told = False
        while not self._try():
            if not told:
                log.info("lock_waits folder=%s reason='its last run still ends'", self._folder)
                told = True
            time.sleep(_LOOK_S)
        threading.Thread(target=self._beat, name="lock", daemon=True).start()

    def give_back(self) -> None:
        """Let the next process have it at once."""
        self._left.set()
        if self._newest() == self._number:
            path = self._path(self._number)
            beside = path.with_name(f".{path.name}.{self._record['token']}")
            beside.write_text(json.dumps({**self._record, "released": True}), encoding="utf-8")
            os.replace(beside, path)

    def check(self) -> None:
        """Call before writing.

        Raises:
            PassingError: another process took the lock over while this one stood still.
        """
        newest = self._newest()
        if newest != self._number:
            raise PassingError(
                f"{self._folder}: {_whom(self._read(newest))} took this run over, because it had"
                f" not been heard of for {SILENT_S:.0f} s; this process ends without writing"
            )

    def _try(self) -> bool:
        newest = self._newest()
        record = self._read(newest)
        if newest and not self._is_free(newest, record):
            if _is_orphan(record):
                return False
            raise PassingError(
                f"{self._folder}: {self._what} by {_whom(record)}, heard of"
                f" {max(0.0, self._age(newest)):.0f} s ago; wait until it ends, or stop it"
                " (what is gone is taken over by itself within a minute)"
            )
        path = self._path(newest + 1)
        try:
            with open(path, "x", encoding="utf-8") as file:
                json.dump(self._record, file)
        except FileExistsError:  # somebody was faster
            return False
        if self._newest() != newest + 1:  # this number had been used up and cleared away
            path.unlink(missing_ok=True)
            return False
        self._number = newest + 1
        if newest:
            log.info("lock_taken folder=%s from='%s'", self._folder, _whom(record))
        for old in range(max(1, newest - 1), newest + 1):
            self._path(old).unlink(missing_ok=True)
        return True

    def _is_free(self, number: int, record: dict[str, Any]) -> bool:
        if record.get("released") or _is_gone(record) or self._job_is_over(record):
            return True
        return self._age(number) > SILENT_S

    def _job_is_over(self, record: dict[str, Any]) -> bool:
        """Whether SLURM has ended the job of a lock, or started it anew as this one."""
        mine = self._record
        if not record.get("job") or record.get("cluster") != mine["cluster"]:
            return False
        if record["job"] == mine["job"]:
            return int(record["restarts"]) < int(mine["restarts"])
        return _is_over(str(record["job"]))

    def _age(self, number: int) -> float:
        """Seconds since the last beat, by the clock of the file system: machines' clocks differ."""
        probe = self._folder / f".now.{uuid.uuid4().hex}"
        try:
            probe.touch()
            return probe.stat().st_mtime - self._path(number).stat().st_mtime
        except FileNotFoundError:  # taken over in this moment
            return 0.0
        finally:
            probe.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._left.wait(BEAT_S):
            with contextlib.suppress(OSError):  # the next beat may come through; else `check` tells
                os.utime(self._path(self._number))

    def _path(self, number: int) -> Path:
        return self._folder / f"lock.{number}"

    def _newest(self) -> int:
        numbers = (path.name.removeprefix("lock.") for path in self._folder.glob("lock.*"))
        return max((int(number) for number in numbers if number.isdigit()), default=0)

    def _read(self, number: int) -> dict[str, Any]:
        """The record of a lock; {} of one that is being written, which its age alone tells of."""
        try:
            record = json.loads(self._path(number).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def _machine() -> dict[str, str]:
    """What two processes share that can see each other: containers have their own numbers."""
    boot, numbers = "", ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        numbers = os.readlink("/proc/self/ns/pid")
    return {"host": socket.gethostname(), "boot": boot, "namespace": numbers}


def _process() -> dict[str, Any]:
    """This process, and the one that started it as a worker (0 for none)."""
    starter = int(os.environ.get(STARTED_BY, "0"))
    return {
        **{"pid": os.getpid(), "started": _start_of(os.getpid())},
        **{"starter": starter, "starter_started": _start_of(starter) if starter else ""},
    }


def _job() -> dict[str, str]:
    return {
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "restarts": os.environ.get("SLURM_RESTART_COUNT", "0"),
        "cluster": os.environ.get("SLURM_CLUSTER_NAME", ""),
    }


def _start_of(pid: int) -> str:
    """When a process started, in ticks since the start of the machine; "" if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()  # a name may hold spaces and brackets
    return "" if fields[0] == "Z" else fields[19]


def _is_here(record: dict[str, Any]) -> bool:
    mine = _machine()
    return bool(mine["boot"]) and all(record.get(name) == mine[name] for name in mine)


def _is_gone(record: dict[str, Any]) -> bool:
    """Whether the process of a lock has ended, as far as this machine can tell."""
    return _is_here(record) and _start_of(record["pid"]) != record["started"]


def _is_orphan(record: dict[str, Any]) -> bool:
    """Whether the process of a lock will end, because the one that started it has."""
    return (
        _is_here(record)
        and bool(record["starter"])
        and _start_of(record["starter"]) != record["starter_started"]
    ) or not record


def _is_over(job: str) -> bool:
    """Whether SLURM is sure that a job does not run; False where it can not be asked."""
    if shutil.which("squeue") is None:
        return False
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--format=%T", "--jobs", job],
            capture_output=True,
            text=True,
            timeout=_SQUEUE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    if done.returncode != 0:
        return "Invalid job id" in done.stderr
    return done.stdout.strip() in ("", "PENDING")  # pending: put back into the queue


def _whom(record: dict[str, Any]) -> str:
    if not record:
        return "another process"
    job = f", job {record['job']}" if record.get("job") else ""
    return f"process {record.get('pid')} on {record.get('host')}{job}"
