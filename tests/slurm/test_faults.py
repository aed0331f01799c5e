"""Whatever goes wrong on a cluster, the same command ends with the results of a calm run."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, Kind, wait_for
from tests.slurm.faulty import (
    LOG,
    ONE_NODE,
    TWO_NODES,
    WAIT_S,
    FaultyRun,
    is_equal,
    smallest,
)

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(5400)]
Start = Callable[[Kind], Cluster]


def test_a_cancelled_training_goes_on_where_it_stopped(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training(stage=TWO_NODES)
    with run.begun("train_all") as snakemake:
        job = run.wait_for_steps(2)
        run.running.run("scancel", job)
        run.wait_for_end(job)
        assert run.state(job) == "CANCELLED"
        assert "stopped: after step" in run.log()
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
    assert "CANCELLED" in run.said
    assert "resume step=" in run.log()
    assert is_equal(run, whole)


def test_a_cancelled_curation_is_made_again(start: Start, whole: Path, tmp_path: Path) -> None:
    # without what the store has of the scores there is something to do
    lacks = ("results/test/scores", "results/store/scores", "results/test/manifest")
    config = smallest(**ONE_NODE) | {"resources": {"threads": 4}}
    run = FaultyRun.of(start(Kind()), whole, tmp_path / "run", lacks=lacks, **config)
    with run.begun("curate_all") as snakemake:
        logs = "logs/score_clips/test"
        (log,) = [f"{logs}/{path.name}" for path in (run.folder / logs).glob("*.log")]
        (run.folder / log).unlink()
        job = run.wait_for_log("=== opensora score-clips on", log)
        run.running.run("scancel", job)
        run.wait_for_end(job)
        assert run.state(job) == "CANCELLED"
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
    assert is_equal(run, whole)


def test_a_time_limit_takes_three_submissions(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training(stage=TWO_NODES)
    run.step_s = 10  # SLURM looks at limits twice a minute; each try is to have steps left
    with run.begun("train_all") as snakemake:
        for number in (1, 2):
            wait_for(2 * WAIT_S, partial(run.has_begun, number))
            job = run.wait_for_steps(run.trained_steps() + 1)
            # a minute in all, which is over: a busy machine may take longer to begin
            done = run.running.run("scontrol", "update", f"JobId={job}", "TimeLimit=1")
            assert done.returncode == 0, done.stderr
            run.wait_for_end(job)
            assert run.state(job) == "TIMEOUT"
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
    assert run.said.count("SLURM status is: 'TIMEOUT'") >= 2
    assert run.has_begun(3)
    assert run.log().count("opensora train: stopped: after step ") == 2
    assert is_equal(run, whole)


def test_a_node_goes_down_and_the_job_goes_to_another(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training()
    with run.begun("train_all") as snakemake:
        job = run.wait_for_steps(2)
        node = run.node(job)
        down = ["scontrol", "update", f"nodename={node}"]
        run.running.run(*down, "state=down", "reason=test")
        run.wait_for_end(job)
        assert run.state(job) == "NODE_FAIL"
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
        run.running.run(*down, "state=resume")
    assert "NODE_FAIL" in run.said
    nodes = [line for line in run.log().splitlines() if line.startswith("=== opensora train")]
    assert len(nodes) == 2
    assert is_equal(run, whole)


def test_a_node_goes_down_where_slurm_starts_again(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training()
    run.lets_slurm_requeue()
    with run.begun("train_all") as snakemake:
        job = run.wait_for_steps(2)
        down = ["scontrol", "update", f"nodename={run.node(job)}"]
        run.running.run(*down, "state=down", "reason=test")
        run.running.run(*down, "state=resume")
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
    assert run.log().count(f"SLURM job {job},") == 2
    assert is_equal(run, whole)


def test_a_preempted_training_takes_over_the_lock_of_its_own_job(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training(Kind(preemptible=True), stage=TWO_NODES)
    run.lets_slurm_requeue()
    with run.begun("train_all") as snakemake:
        job = run.wait_for_steps(2)
        # a job of more worth, for which both nodes are cleared
        words = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null"]
        taken = run.running.run("sbatch", *words, "--wrap=sleep 5")
        assert taken.returncode == 0, taken.stderr
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
    assert run.log().count(f"SLURM job {job},") == 2
    assert is_equal(run, whole)


def test_the_controller_is_started_again(training: Callable[..., FaultyRun], whole: Path) -> None:
    run = training()
    with run.begun("train_all") as snakemake:
        run.wait_for_steps(2)
        run.running.restart_controller(pause_s=15)
        assert snakemake.wait(2 * WAIT_S) == 0, run.said[-4000:]
    assert run.log().count("=== opensora train on") == 1
    assert is_equal(run, whole)


def test_snakemake_is_killed_and_the_same_command_is_given_again(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training()
    run.step_s = 20  # it trains on while the same command is given again
    with run.begun("train_all") as snakemake:
        job = run.wait_for_steps(2)
        os.killpg(snakemake.pid, signal.SIGKILL)
    assert run.end("train_all") == 1
    assert "--unlock" in run.said
    assert run.end("train_all", "--unlock") == 0
    # the first job still trains
    assert run.end("train_all", "--retries", "1") == 1
    assert "is being trained by" in run.said
    run.wait_for_end(job)
    assert run.end("train_all") == 0, run.said[-4000:]
    assert is_equal(run, whole)


def test_a_job_that_needs_more_memory_gets_more(start: Start, whole: Path, tmp_path: Path) -> None:
    lacks = ("results/test/scores", "results/store/scores", "results/test/manifest")
    config = smallest(**ONE_NODE) | {"resources": {"score_clips": {"mem": "260MB"}}}
    running = start(Kind(ends_large_jobs=True))
    run = FaultyRun.of(running, whole, tmp_path / "run", lacks=lacks, **config)
    assert run.end("curate_all") == 0, run.said[-4000:]
    # by polling, since cgroups can not be had here: those say OUT_OF_MEMORY
    assert "exceeded memory limit" in run.said
    assert "mem_mb=390" in run.said
    assert is_equal(run, whole)


def test_what_only_a_person_mends_is_tried_once(
    training: Callable[..., FaultyRun], whole: Path
) -> None:
    run = training()
    plan = run.folder / "results/test/buckets/stage1/settled.parquet"
    sound, times = plan.read_bytes(), (plan.stat().st_atime_ns, plan.stat().st_mtime_ns)
    plan.write_bytes(sound[: len(sound) // 2])
    os.utime(plan, ns=times)
    assert run.end("train_all", "--retries", "2") == 1
    assert run.log().count("=== opensora train on") == 3
    assert run.log(f"{LOG}.mark")
    plan.write_bytes(sound)
    os.utime(plan, ns=times)
    assert run.end("train_all") == 0, run.said[-4000:]
    assert not run.log(f"{LOG}.mark")
    assert is_equal(run, whole)
