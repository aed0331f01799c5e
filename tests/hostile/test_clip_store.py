"""Jobs that share a store of clips: killed in the middle, or at work at the same time."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from opensora.cli.main import EXIT_DONE
from opensora.core.io import sha256_file

from .conftest import Run
from .files import write
from .test_processes import reader_of

SHORT = ("--max-s", "0.5")  # 4 frames


@pytest.fixture
def film(fresh: Callable[[], Run]) -> Run:
    """Scenes of one film that becomes many clips."""
    run = fresh()
    write(run.folder / "raw/a.mp4", 1, num_frames=320, size=(96, 128))
    for stage in ("ingest-videos", "detect-scenes"):
        assert run.stage(stage) == EXIT_DONE
    return run


def times(run: Run) -> dict[str, int]:
    """When each finished clip was made."""
    made = {}
    for path in (run.folder / "clips").glob("??/*.mp4"):
        made[path.name] = path.stat().st_mtime_ns
    return made


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def below(pid: int) -> set[int]:
    """Processes below one."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in listed} | {p for child in listed for p in below(int(child))}


def test_a_killed_job_keeps_what_it_finished(film: Run) -> None:
    process = film.start("split-clips", *SHORT)
    deadline = time.monotonic() + 60
    while len(times(film)) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
    workers = below(process.pid)
    process.send_signal(signal.SIGKILL)  # it can tidy up nothing
    process.communicate()
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    before = times(film)
    left = film.leftovers()
    assert film.stage("split-clips", *SHORT) == EXIT_DONE
    clips = film.table("clips")
    assert set(clips["status"]) == {"ok"}
    assert 3 <= len(before) < len(clips)
    after = times(film)
    assert {name: after[name] for name in before} == before
    assert sorted(after) == sorted(Path(path).name for path in clips["path"])
    assert [sha256_file(path) for path in clips["path"]] == list(clips["sha256"])
    assert film.leftovers() == left  # another job might be writing them
    for place in left:
        os.utime(place, (time.time() - 2 * 86400,) * 2)
    assert film.stage("split-clips", *SHORT) == EXIT_DONE
    assert film.leftovers() == []
    assert times(film) == after


def test_a_killed_worker_keeps_what_it_finished(film: Run) -> None:
    process = film.start("split-clips", *SHORT)
    worker = reader_of(film.folder / "raw/a.mp4", parent=process.pid)
    deadline = time.monotonic() + 60
    while len(times(film)) < 3:
        assert time.monotonic() < deadline
    os.kill(worker, signal.SIGKILL)
    assert process.wait(timeout=60) == EXIT_DONE
    assert set(film.table("clips")["status"]) == {"ok"}  # tried once more
    assert film.leftovers() == []
    before = times(film)
    assert film.stage("split-clips", *SHORT) == EXIT_DONE
    assert set(film.table("clips")["status"]) == {"ok"}
    assert {name: times(film)[name] for name in before} == before


def test_two_jobs_at_once_both_succeed_with_one_file_each(film: Run) -> None:
    for k in range(4):
        write(film.folder / f"raw/more{k}.mp4", 10 + k, num_frames=40, size=(96, 128))
    for stage in ("ingest-videos", "detect-scenes"):
        assert film.stage(stage) == EXIT_DONE
    outputs = [film.folder / f"clips-{k}.csv" for k in range(2)]
    jobs = [
        film.start("split-clips", *SHORT, "--workers", "2", "--output", str(output))
        for output in outputs
    ]
    assert [job.wait(timeout=120) for job in jobs] == [EXIT_DONE, EXIT_DONE]
    one, two = map(pd.read_csv, outputs)
    pd.testing.assert_frame_equal(one, two)
    assert set(one["status"]) == {"ok"}
    assert sorted(times(film)) == sorted(Path(path).name for path in one["path"])
    assert [sha256_file(path) for path in one["path"]] == list(one["sha256"])
    assert film.leftovers() == []
