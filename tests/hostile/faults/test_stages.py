"""Every stage of the DAG is killed once, in turn; the same command ends as an undisturbed run."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from opensora.cli.main import COMMANDS

from .smallest import hashes, start

# the others are no stage of the test run
STAGES = [
    name
    for name in COMMANDS
    if name
    not in {
        *("import-scenes", "import-manifest", "plan", "search-batch-size", "doctor", "export"),
        *("convert-checkpoint", "bench", "init", "fetch", "app", "export-weights"),
    }
]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]
Hit = Callable[["subprocess.Popen[bytes]", int], None]


def jobs_of(group: int) -> dict[str, int]:
    """Command -> process of the jobs that run below some Snakemake."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if os.getpgid(int(folder.name)) != group:
                continue
        except (OSError, ValueError):
            continue
        if len(words) > 2 and Path(words[1]).name == "opensora":
            found[words[2]] = int(folder.name)
    return found


def kill_job(process: "subprocess.Popen[bytes]", pid: int) -> None:
    os.kill(pid, signal.SIGKILL)  # an error if it is done already: then nothing was tried


def kill_snakemake(process: "subprocess.Popen[bytes]", pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # a second job of the same moment
        os.killpg(process.pid, signal.SIGKILL)


def end_all(process: "subprocess.Popen[bytes]", pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def results(folder: Path) -> dict[str, str]:
    """Hashes of what a run leaves: tables, plans, weights and samples."""
    return hashes(
        folder / "results/test",
        *("manifest/*.parquet", "buckets/**/*.parquet", "models/**/*.safetensors"),
        *("train/*/*.safetensors", "samples/**/*.mp4", "samples/**/*.png"),
    )


@pytest.fixture(scope="module")
def undisturbed(finished: Path) -> dict[str, str]:
    found = results(finished)
    assert any(name.endswith("ema.safetensors") for name in found)
    assert any(name.startswith("samples/") for name in found)
    return found


@pytest.mark.parametrize("hit", [kill_job, kill_snakemake, end_all])
def test_a_stage_that_is_killed_is_made_again_to_the_byte(
    hit: Hit, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    hurt: list[str] = []
    for _ in range(len(STAGES) + 1):
        process = start(tmp_path, "all")
        while process.poll() is None:
            for command, pid in jobs_of(process.pid).items():
                if command in STAGES and command not in hurt:
                    time.sleep(0.3)  # before the quickest stage is done
                    hit(process, pid)
                    hurt.append(command)
            time.sleep(0.05)
        if process.returncode == 0:
            break
        if hit is kill_snakemake:
            assert start(tmp_path, "--unlock").wait(timeout=120) == 0
    assert process.returncode == 0, (tmp_path / "said.txt").read_text()
    assert set(hurt) == set(STAGES)
    assert results(tmp_path) == undisturbed
    assert "Traceback" not in (tmp_path / "said.txt").read_text()
