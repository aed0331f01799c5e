"""Start the worker processes of a command: torch.distributed.run on one node, SLURM on several."""

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from opensora.core.errors import ConfigError, OpenSoraError, Stopped
from opensora.core.process import threads_in_use, use_threads

EXIT_USER, EXIT_STOPPED = 2, 75
JOIN_S = 300  # how long the first node waits for the last one
_FIRST_PORT, _NUM_PORTS = 12_000, 20_000  # below the ephemeral ports of Linux


@dataclass(frozen=True)
class Rendezvous:
    """Where the nodes of one run meet.

    Attributes:
        endpoint: "host:port"; port 0 is any free one (a single node).
        run_id: equal on all nodes of the run, unlike that of any other run.
        is_host: whether this node answers at the endpoint.
    """

    endpoint: str
    run_id: str
    is_host: bool


def launch(command: Sequence[str], *, processes: int, nodes: int = 1, gpus: int = 0) -> None:
    """Run `python *command` in `processes` workers on each of `nodes` nodes and wait for them.

    Args:
        command: words after the interpreter, such as ["-m", "package.module", "--option"].
        processes: workers per node.
        nodes: nodes; more than one needs a SLURM allocation of that many.
        gpus: GPUs per node, handed on to srun.

    Raises:
        Stopped: the workers wrote a checkpoint and ended.
        ConfigError: several nodes without SLURM.
        OpenSoraError: a worker failed; it has written why.
    """
    if nodes > 1 and not _is_node_task(os.environ, nodes):
        _run_srun(command, nodes=nodes, gpus=gpus)
        return
    use_threads(max(1, threads_in_use() // processes))  # the workers share those of the command
    meet = slurm_rendezvous(os.environ) if nodes > 1 else local_rendezvous()
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes,
        run_id=meet.run_id,
        rdzv_backend="c10d",
        rdzv_endpoint=meet.endpoint,
        rdzv_configs={"timeout": JOIN_S, "join_timeout": JOIN_S, "is_host": meet.is_host},
        max_restarts=0,  # a resumable run is started again by whoever started this one
    )
    try:
        elastic_launch(config, sys.executable)(*command)
    except SignalException as error:
        raise Stopped(f"signal {error.sigval.name}; run the same command again") from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        _raise_for(failure.exitcode, f"worker {rank}")


def local_rendezvous() -> Rendezvous:
    """Meet on this node, at a free port and under a name of its own, so runs never collide."""
    return Rendezvous("localhost:0", uuid.uuid4().hex, True)


def slurm_rendezvous(environment: Mapping[str, str]) -> Rendezvous:
    """Meet at the first node of the SLURM step; the port follows from the job's number.

    Raises:
        ConfigError: a SLURM variable is missing.
    """
    try:
        job = environment["SLURM_JOB_ID"]
        step = environment.get("SLURM_STEP_ID", "0")
        nodes = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"]
        node = int(environment["SLURM_NODEID"])
    except KeyError as error:
        raise ConfigError(
            f"--nodes above 1 needs a SLURM job, and {error.args[0]} is not set; start the command"
            " with sbatch or srun, or use --nodes 1"
        ) from error
    port = _FIRST_PORT + int(job) % _NUM_PORTS
    return Rendezvous(f"{first_host(nodes)}:{port}", f"{job}.{step}", node == 0)


def first_host(nodes: str) -> str:
    """First name of a SLURM host list: "gpu[003-010,12],login1" -> "gpu003".

    Raises:
        ConfigError: not a host list.
    """
    match = re.match(r"([^\[\],]+)(?:\[([^\[\],-]+)[^\]]*\]([^\[\],]*))?", nodes)
    if match is None:
        raise ConfigError(f"SLURM node list {nodes!r}: expected names such as gpu[003-010]")
    prefix, number, suffix = match.groups(default="")
    return prefix + number + suffix


def _is_node_task(environment: Mapping[str, str], nodes: int) -> bool:
    """Whether srun already started one task on each node and this is one of them."""
    return environment.get("SLURM_STEP_NUM_NODES") == str(nodes) and (
        environment.get("SLURM_STEP_NUM_TASKS") == str(nodes)
    )


def _run_srun(command: Sequence[str], *, nodes: int, gpus: int) -> None:
    """Start the same command once per node of the SLURM allocation.

    Raises:
        ConfigError: not inside an allocation of `nodes` nodes.
    """
    allocated = os.environ.get("SLURM_JOB_NUM_NODES", "0")
    if int(allocated) < nodes:
        raise ConfigError(
            f"--nodes {nodes}: this process is in a SLURM allocation of {allocated} nodes; ask for"
            f" {nodes} (sbatch --nodes={nodes}), or use --nodes {max(1, int(allocated))}"
        )
    words = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--overlap"]
    words += ["--kill-on-bad-exit=1"]
    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
        words.append(f"--cpus-per-task={cores}")  # srun no longer takes it from the job
    if gpus:
        words.append(f"--gpus-per-node={gpus}")
    _raise_for(subprocess.run([*words, sys.executable, *command], check=False).returncode, "srun")


def _raise_for(exit_code: int, who: str) -> None:
    """Turn the exit code of a worker into the error of this process."""
    if exit_code == EXIT_STOPPED:
        raise Stopped(f"{who} wrote a checkpoint; run the same command again")
    if exit_code:
        reason = "which it can not mend by itself" if exit_code == EXIT_USER else "a defect"
        raise OpenSoraError(f"{who} ended with exit code {exit_code}, {reason}; its lines say why")
