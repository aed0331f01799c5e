"""Start the worker processes of a command: directly on one node, through SLURM on several."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from opensora.acceleration.rendezvous import (
    Rendezvous,
    exchange_failures,
    local_rendezvous,
    open_store,
    slurm_rendezvous,
)
from opensora.acceleration.slurm_end import why_job_ends
from opensora.core.errors import ConfigError, OpenSoraError, PassingError, Stopped
from opensora.core.process import threads_in_use, use_threads
from opensora.core.signals import STARTED_BY, StopSignals

EXIT_USER, EXIT_STOPPED = 2, 75
# After a worker has failed the others can't finish a step: they have this long to end by themselves
FAILED_S = 15.0
_LOOK_S = 0.05
_SQUEUE_S = 60.0
_KILLED = 128


def launch(
    command: Sequence[str],
    *,
    processes: int,
    signals: StopSignals,
    nodes: int = 1,
    gpus: int = 0,
) -> None:
    """Run `python *command` in `processes` workers on each of `nodes` nodes and wait for them.

    A signal that reaches this process is handed on to every worker, and all are waited for: when
    and with what they end is for them to agree on.

    Args:
        command: words after the interpreter, such as ["-m", "package.module", "--option"].
        processes: workers per node.
        signals: what reaches this process.
        nodes: nodes; more than one needs a SLURM allocation of that many.
        gpus: GPUs per node, handed on to srun.

    Raises:
        Stopped: the workers wrote a checkpoint and ended; empty where one of them has said so.
        ConfigError: several nodes without SLURM.
        OpenSoraError: a worker met what its user must mend; it has written what.
        PassingError: a worker was killed, met a defect, or what another try may not meet.
    """
    if nodes > 1 and not _is_node_task(os.environ, nodes):
        _run_srun(command, nodes=nodes, gpus=gpus, signals=signals)
        return
    use_threads(max(1, threads_in_use() // processes))  # the workers share those of the command
    meet = slurm_rendezvous(os.environ) if nodes > 1 else local_rendezvous()
    store = open_store(meet, nodes)
    workers = [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | _places(meet, store.port, processes, nodes, local_rank),
        )
        for local_rank in range(processes)
    ]
    failures = _wait(workers, signals, first_rank=meet.node * processes)
    if nodes > 1:
        failures = exchange_failures(store, failures, meet.node, nodes)
    _conclude(failures, signals)


def _places(
    meet: Rendezvous, port: int, processes: int, nodes: int, local_rank: int
) -> dict[str, str]:
    """What tells a worker its place: the variables that torchrun would set."""
    return {
        "RANK": str(meet.node * processes + local_rank),
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(nodes * processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": str(meet.node),
        "MASTER_ADDR": meet.host,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": meet.run_id,
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is ours, not that of rank 0
        STARTED_BY: str(os.getpid()),
    }


def _wait(
    workers: Sequence["subprocess.Popen[bytes]"], signals: StopSignals, *, first_rank: int
) -> list[tuple[int, int]]:
    """Wait until all workers have ended.

    Returns:
        (rank, exit code) of those that did not end with 0, in the order in which they ended.
    """
    ended: dict[int, int] = {}
    handed_on, failed_at = None, None
    while len(ended) < len(workers):
        for number, worker in enumerate(workers):
            code = worker.poll()
            if code is not None and number not in ended:
                ended[number] = code
                if code not in (0, EXIT_STOPPED) and failed_at is None:
                    failed_at = time.monotonic()
        # a second time does not hurt: a worker that heard it already stays with what it is doing
        if signals.received != handed_on:
            handed_on = signals.received
            _end(workers)
        if failed_at is not None and time.monotonic() > failed_at + FAILED_S:
            _end(workers, kill=True)
        time.sleep(_LOOK_S)
    return [(first_rank + number, code) for number, code in ended.items() if code]


def _end(workers: Sequence["subprocess.Popen[bytes]"], *, kill: bool = False) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.kill() if kill else worker.terminate()


def _conclude(failures: Sequence[tuple[int, int]], signals: StopSignals) -> None:
    """Turn how the workers ended into the error of this process; all 0 is none.

    Raises:
        Stopped: every worker that did not finish wrote the checkpoint.
        OpenSoraError: one failed, whatever the others did; what a user must mend goes first.
    """
    broken = [(rank, code) for rank, code in failures if code != EXIT_STOPPED]
    if not failures:
        return
    if not broken:
        raise Stopped("")  # the first worker has said it
    asked = {-number for number in StopSignals.SIGNALS}
    killed_late = {-9}  # by us, because the others were gone
    first_rank, first = broken[0]
    if signals.received and first in asked and {code for _, code in broken} <= asked | killed_late:
        raise Stopped(
            f"{signals.received} came before the first step; nothing is lost, run the same"
            " command again"
        )
    first_rank, first = next((one for one in broken if one[1] == EXIT_USER), broken[0])
    _raise_for(first, f"worker {first_rank}")


def _is_node_task(environment: Mapping[str, str], nodes: int) -> bool:
    """Whether srun already started one task on each node and this is one of them."""
    return environment.get("SLURM_STEP_NUM_NODES") == str(nodes) and (
        environment.get("SLURM_STEP_NUM_TASKS") == str(nodes)
    )


def _allocated_nodes() -> int:
    """Nodes of the SLURM job that this process is in; 0 outside of one.

    Where Snakemake's plugin started the job the variable is gone, and only the number is left.
    """
    if number := os.environ.get("SLURM_JOB_NUM_NODES"):
        return int(number)
    job = os.environ.get("SLURM_JOB_ID")
    if not job or shutil.which("squeue") is None:
        return 0
    words = ["squeue", "--noheader", "--format=%D", "--jobs", job]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SQUEUE_S, check=False)
    return int(done.stdout) if done.stdout.strip().isdigit() else 0


def _run_srun(command: Sequence[str], *, nodes: int, gpus: int, signals: StopSignals) -> None:
    """Start the same command once per node of the SLURM allocation.

    Raises:
        ConfigError: not inside an allocation of `nodes` nodes.
        Stopped, OpenSoraError, PassingError: as `launch` does.
    """
    allocated = _allocated_nodes()
    if allocated < nodes:
        raise ConfigError(
            f"--nodes {nodes}: this process is in a SLURM allocation of {allocated} nodes; ask for"
            f" {nodes} (sbatch --nodes={nodes}), or use --nodes {max(1, allocated)}"
        )
    words = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--overlap"]
    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
        words.append(f"--cpus-per-task={cores}")  # srun no longer takes it from the job
    if gpus:
        words.append(f"--gpus-per-node={gpus}")
    # srun takes SIGTERM for an order to kill its tasks, but hands SIGUSR1 on to them
    srun = subprocess.Popen([*words, sys.executable, *command], start_new_session=True)
    handed_on = None
    while srun.poll() is None:
        if signals.received != handed_on:
            handed_on = signals.received
            srun.send_signal(signal.SIGUSR1)
        time.sleep(_LOOK_S)
    if srun.returncode == EXIT_STOPPED:
        raise Stopped("")
    if srun.returncode not in (0, EXIT_USER) and (why := why_job_ends()):
        raise PassingError(
            f"SLURM ended this job: {why}; the newest checkpoint stands, the same command goes on"
        )
    _raise_for(srun.returncode, "srun", asked=signals.received)


def _raise_for(exit_code: int, who: str, *, asked: str | None = None) -> None:
    """Turn the exit code of a worker, or of srun, into the error of this process.

    Args:
        exit_code: of it.
        who: for people.
        asked: signal that had come before, if any.

    Raises:
        OpenSoraError: its user must mend something.
        PassingError: all else; of a defect its traceback stands in the lines above.
    """
    if not exit_code:
        return
    if exit_code == EXIT_USER:
        raise OpenSoraError(
            f"{who} ended with exit code {exit_code}, which it can not mend by itself; its lines"
            " say why"
        )
    killed = -exit_code if exit_code < 0 else exit_code - _KILLED  # srun adds 128 for its tasks
    if killed > 0:
        raise PassingError(
            f"{who} was ended by signal {killed}"
            f"{', for want of memory perhaps' if killed == signal.SIGKILL else ''}; the newest"
            " checkpoint stands, run the same command again"
        )
    if asked:
        raise PassingError(
            f"{who} ended with exit code {exit_code} after {asked}; where no line above says why,"
            " nothing had begun yet, and the same command starts it"
        )
    raise PassingError(f"{who} ended with exit code {exit_code}; its lines say why")
