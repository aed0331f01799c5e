import os
import random
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from opensora.acceleration.launch import launch
from opensora.acceleration.rendezvous import (
    Rendezvous,
    first_host,
    local_rendezvous,
    open_store,
    slurm_rendezvous,
)
from opensora.core.errors import ConfigError, OpenSoraError, PassingError, Stopped
from opensora.core.signals import StopSignals

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
    for node in (0, 2):
        found = slurm_rendezvous({**SLURM, "SLURM_NODEID": str(node)})
        assert found == Rendezvous("gpu007", 12123, "20123.4", node)


def test_a_missing_slurm_variable_is_named():
    with pytest.raises(ConfigError, match="SLURM_NODEID is not set"):
        slurm_rendezvous(SLURM)


def test_two_runs_on_one_node_do_not_meet():
    assert local_rendezvous().run_id != local_rendezvous().run_id


def test_a_port_that_is_taken_is_nothing_that_a_user_mends():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        meet = Rendezvous("localhost", taken.getsockname()[1], "1.0", 0)
        with pytest.raises(PassingError, match=f"did not meet at localhost:{meet.port} "):
            open_store(meet, 2)


def test_more_nodes_than_allocated_are_refused(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    with pytest.raises(ConfigError, match="allocation of 1 nodes"):
        launch(["-c", ""], processes=1, nodes=2, signals=StopSignals())


def test_workers_learn_their_rank(tmp_path):
    code = "import os, sys; open(f'{sys.argv[1]}/' + os.environ['RANK'], 'w')"
    launch(["-c", code, str(tmp_path)], processes=2, signals=StopSignals())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert os.environ["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))


@pytest.mark.parametrize(
    ("exit_code", "error"), [(75, Stopped), (2, OpenSoraError), (1, PassingError)]
)
def test_the_exit_code_of_a_worker_decides_the_error(exit_code, error):
    with pytest.raises(error) as caught:
        launch(["-c", f"raise SystemExit({exit_code})"], processes=1, signals=StopSignals())
    assert type(caught.value) is error


CODES = "import os, sys, time; rank = int(os.environ['RANK']); time.sleep(rank / 2);"


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [
        ((75, 75, 75), ""),
        ((75, 0, 75), ""),
        ((75, 1, 75), "worker 1 ended with exit code 1;"),
        ((75, 1, 2), "worker 2 ended with exit code 2"),
        ((0, 75, -9), "worker 2 was ended by signal 9"),
    ],
)
def test_the_codes_of_all_workers_count_whoever_ends_first(codes, sentence):
    code = f"{CODES} code = {codes}[rank];"
    code += "os.kill(os.getpid(), -code) if code < 0 else sys.exit(code)"
    with pytest.raises(OpenSoraError) as caught:
        launch(["-c", code], processes=3, signals=StopSignals())
    assert isinstance(caught.value, Stopped) == (not sentence)
    assert isinstance(caught.value, PassingError) == bool(sentence and 2 not in codes)
    assert sentence in str(caught.value)


def test_a_worker_that_is_slow_to_save_is_waited_for(tmp_path: Path):
    code = f"{CODES} time.sleep(2 * rank);"
    code += "open(f'{sys.argv[1]}/saved{rank}', 'w').close(); sys.exit(75)"
    with pytest.raises(Stopped):
        launch(["-c", code, str(tmp_path)], processes=2, signals=StopSignals())
    assert (tmp_path / "saved1").exists()


def test_workers_left_alone_by_a_failure_are_ended(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("opensora.acceleration.launch.FAILED_S", 0.5)
    code = "import os, sys, time; sys.exit(1) if os.environ['RANK'] == '1' else time.sleep(600)"
    with pytest.raises(OpenSoraError, match="worker 1 ended with exit code 1"):
        launch(["-c", code], processes=2, signals=StopSignals())


def test_several_nodes_are_started_through_srun(tmp_path: Path, monkeypatch):
    srun = tmp_path / "srun"
    srun.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexit 75\n')
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    with pytest.raises(Stopped):
        launch(
            ["-m", "opensora.cli.main", "train"],
            processes=4,
            nodes=2,
            gpus=4,
            signals=StopSignals(),
        )
    words = (tmp_path / "words").read_text().split()
    assert words[-4:] == [sys.executable, "-m", "opensora.cli.main", "train"]
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=8"} <= set(words)
    assert "--gpus-per-node=4" in words


def test_the_nodes_of_a_job_of_the_plugin_are_asked_for(tmp_path: Path, monkeypatch):
    for name, text in (("srun", "exit 75"), ("squeue", 'test "$4" = 71 && echo 2')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("SLURM_JOB_NUM_NODES", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    with pytest.raises(Stopped):
        launch(["-c", ""], processes=1, nodes=2, signals=StopSignals())
    with pytest.raises(ConfigError, match="allocation of 2 nodes"):
        launch(["-c", ""], processes=1, nodes=3, signals=StopSignals())


@pytest.mark.parametrize(
    ("code", "state", "asked", "error", "said"),
    [
        (1, "JobState=COMPLETING Reason=TimeLimit", "SIGTERM", PassingError, "limit has passed;"),
        (143, "JobState=NODE_FAIL Reason=None", None, PassingError, "job: a node went down;"),
        (1, "JobState=RUNNING Reason=None", "SIGTERM", PassingError, "code 1 after SIGTERM; where"),
        (1, "JobState=RUNNING Reason=None", None, PassingError, "exit code 1; its lines say why"),
        (137, "", None, PassingError, "srun was ended by signal 9, for want of memory perhaps;"),
        (2, "JobState=COMPLETING Reason=TimeLimit", None, OpenSoraError, "ended with exit code 2"),
    ],
)
def test_what_srun_ends_with_is_told_by_its_cause(
    tmp_path, monkeypatch, code, state, asked, error, said
):
    for name, text in (("srun", f"exit {code}"), ("scontrol", f"echo 'JobId=71 {state} X=1'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    monkeypatch.setattr("subprocess.Popen.send_signal", lambda *_: None)  # a shell would end of it
    signals = StopSignals()
    signals.received = asked
    with pytest.raises(OpenSoraError, match=said) as caught:
        launch(["-c", ""], processes=1, nodes=2, signals=signals)
    assert type(caught.value) is error


NODE = (
    "import sys\n"
    "from opensora.acceleration.launch import launch\n"
    "from opensora.core.errors import OpenSoraError\n"
    "from opensora.core.signals import StopSignals\n"
    "try:\n"
    "    launch(['-c', *sys.argv[1:]], processes=2, nodes=2, signals=StopSignals())\n"
    "except OpenSoraError as error:\n"
    "    print(type(error).__name__, error)\n"
)


def on_two_nodes(*command: str) -> list[str]:
    """What both launchers of a two-node step of SLURM say; both nodes are this machine."""
    job = str(random.randrange(1, 20_000))
    step = {"SLURM_JOB_ID": job, "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost,other"}
    step |= {"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2"}
    nodes = [
        subprocess.Popen(
            [sys.executable, "-c", NODE, *command],
            env={**os.environ, **step, "SLURM_NODEID": node},
            stdout=subprocess.PIPE,
            text=True,
        )
        for node in "01"
    ]
    return [process.communicate(timeout=120)[0].strip() for process in nodes]


def test_workers_of_two_nodes_learn_their_rank_and_meet_in_one_group(tmp_path: Path):
    code = (
        "import os, sys, torch, torch.distributed as dist; dist.init_process_group('gloo');"
        "total = torch.ones(1); dist.all_reduce(total);"
        "open(f\"{sys.argv[1]}/{os.environ['RANK']}.{int(total)}\", 'w')"
    )
    assert on_two_nodes(code, str(tmp_path)) == ["", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.4", "1.4", "2.4", "3.4"]


@pytest.mark.parametrize(
    ("codes", "said"),
    [((75, 75, 75, 75), "Stopped"), ((75, 75, 75, 1), "PassingError worker 3 ended with exit")],
)
def test_both_nodes_say_the_same(codes, said):
    told = on_two_nodes(f"{CODES} sys.exit({codes}[rank])")
    assert told[0].startswith(said)
    assert told[1].startswith(said)
