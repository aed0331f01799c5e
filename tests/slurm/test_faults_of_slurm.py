"""What SLURM itself does to a run: jobs put back, no controller, jobs that are remembered."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import Kind, wait_for
from tests.slurm.faulty import WAIT_S, FaultyRun, is_equal

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(5400)]
# stands for sbatch: waits at a door before the real one is called, and counts the calls
_DOOR = """\
#!/bin/sh
echo called >> {folder}/calls
while [ ! -e {folder}/open ]; do sleep 0.2; done
exec {folder}/sbatch.real "$@"
"""


def test_a_job_that_is_put_back_takes_over_the_lock_of_its_own_job(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training()
    run.lets_slurm_requeue()
    with run.begun("train_all") as snakemake:
        job = run.wait_for_steps(2)
        done = run.running.run("scontrol", "requeue", job)
        assert done.returncode == 0, done.stderr
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
    assert run.log().count(f"SLURM job {job},") == 2
    assert is_equal(run, whole)


def closed_door(run: FaultyRun) -> Path:
    """Let submissions wait until a file is there; that file."""
    tools = run.running.folder / "bin"
    (tools / "sbatch").rename(tools / "sbatch.real")
    (tools / "sbatch").write_text(_DOOR.format(folder=tools))
    (tools / "sbatch").chmod(0o755)
    return tools / "open"


def test_no_controller_while_a_job_is_submitted(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training()
    door = closed_door(run)
    with run.begun("train_all") as snakemake:
        wait_for(WAIT_S, (door.parent / "calls").exists)
        run.running.stop_controller()
        door.touch()
        wait_for(WAIT_S, lambda: "Unable to contact slurm controller" in run.said)
        run.running.start_controller()
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
    assert (door.parent / "calls").read_text().count("called") >= 2
    assert is_equal(run, whole)


def test_no_controller_at_the_start_is_a_sentence(training: Callable[..., FaultyRun]) -> None:
    run = training()
    run.running.stop_controller()
    assert run.end("train_all") == 1
    assert "SLURM's controller does not answer; give the same command again" in run.said
    assert "sbatch" not in run.said
    assert "Traceback" not in run.said


def test_a_cluster_with_accounting_tells_what_jobs_used(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training(Kind(accounts=True))
    run.wants_efficiency()
    with run.begun("train_all") as snakemake:
        job = run.wait_for_steps(2)
        # block 2 as shipped: such a job is not put back, and trains on
        refused = run.running.run("scontrol", "requeue", job)
        assert "Requested operation is presently disabled" in refused.stderr
        run.running.run("scancel", job)
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
    told = run.running.run("sacct", "-n", "-X", "-j", job, "-o", "State%30").stdout
    assert told.split()[0] == "CANCELLED"
    (table,) = run.folder.glob("logs/slurm/efficiency/*.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["RuleName"] for row in rows} == {"rule_train_wildcards_stage1"}
    assert is_equal(run, whole)
