import os
import stat
import sys
from pathlib import Path

import pytest

from opensora.acceleration.launch import (
    Rendezvous,
    first_host,
    launch,
    local_rendezvous,
    slurm_rendezvous,
)
from opensora.core.errors import ConfigError, OpenSoraError, Stopped

SLURM = {"SLURM_JOB_ID": "20123", "SLURM_STEP_ID": "4", "SLURM_STEP_NODELIST": "gpu[007-009]"}


@pytest.fixture(autouse=True)
def own_threads(monkeypatch):
    """No number of threads is set, and what `launch` sets ends with the test."""
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # an absent variable leaves delenv nothing to undo
    monkeypatch.delenv("OMP_NUM_THREADS")


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("localhost", "localhost"),
        ("gpu1,gpu2", "gpu1"),
        ("gpu[003-010,12],login1", "gpu003"),
        ("gpu[5,7]", "gpu5"),
        ("rack[01-02]-ib", "rack01-ib"),
        ("a1,b[1-2]", "a1"),
    ],
)
def test_the_first_name_of_a_host_list(nodes, expected):
    assert first_host(nodes) == expected


def test_nodes_of_a_slurm_step_meet_at_its_first_node():
    # port: 12000 + 20123 mod 20000
    assert slurm_rendezvous({**SLURM, "SLURM_NODEID": "0"}) == Rendezvous(
        "gpu007:12123", "20123.4", True
    )
    assert slurm_rendezvous({**SLURM, "SLURM_NODEID": "2"}) == Rendezvous(
        "gpu007:12123", "20123.4", False
    )


def test_a_missing_slurm_variable_is_named():
    with pytest.raises(ConfigError, match="SLURM_NODEID is not set"):
        slurm_rendezvous(SLURM)


def test_two_runs_on_one_node_do_not_meet():
    assert local_rendezvous().run_id != local_rendezvous().run_id


def test_more_nodes_than_allocated_are_refused(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    with pytest.raises(ConfigError, match="allocation of 1 nodes"):
        launch(["-c", ""], processes=1, nodes=2)


def test_workers_learn_their_rank(tmp_path):
    code = "import os, sys; open(f'{sys.argv[1]}/' + os.environ['RANK'], 'w')"
    launch(["-c", code, str(tmp_path)], processes=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert os.environ["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))


@pytest.mark.parametrize(
    ("exit_code", "error"), [(75, Stopped), (2, OpenSoraError), (1, OpenSoraError)]
)
def test_the_exit_code_of_a_worker_decides_the_error(exit_code, error):
    with pytest.raises(error) as caught:
        launch(["-c", f"raise SystemExit({exit_code})"], processes=1)
    assert isinstance(caught.value, Stopped) == (exit_code == 75)


def test_several_nodes_are_started_through_srun(tmp_path: Path, monkeypatch):
    srun = tmp_path / "srun"
    srun.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexit 75\n')
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    with pytest.raises(Stopped):
        launch(["-m", "opensora.cli.main", "train"], processes=4, nodes=2, gpus=4)
    words = (tmp_path / "words").read_text().split()
    assert words[-4:] == [sys.executable, "-m", "opensora.cli.main", "train"]
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=8"} <= set(words)
    assert "--gpus-per-node=4" in words
