"""Where the nodes of one run meet: a store that the first of them opens."""

import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

from opensora.core.errors import ConfigError, PassingError

JOIN_S = 300.0  # how long a node waits for the others
_FIRST_PORT, _NUM_PORTS = 12_000, 20_000  # below the ephemeral ports of Linux


@dataclass(frozen=True)
class Rendezvous:
    """Where the nodes of one run meet.

    Attributes:
        host: name of the node that answers.
        port: its port; 0 is any free one (a single node).
        run_id: equal on all nodes of the run, unlike that of any other run.
        node: number of this node; 0 answers.
    """

    host: str
    port: int
    run_id: str
    node: int


def local_rendezvous() -> Rendezvous:
    """Meet on this node, at a free port and under a name of its own, so runs never collide."""
    return Rendezvous("localhost", 0, f"{os.getpid()}.{time.monotonic_ns()}", 0)


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
    return Rendezvous(first_host(nodes), port, f"{job}.{step}", node)


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


def open_store(meet: Rendezvous, nodes: int) -> dist.TCPStore:
    """Open the store in which the workers find each other, and wait for all nodes.

    Raises:
        PassingError: a node does not come, or the port is taken; another job has another port.
    """
    timeout = timedelta(seconds=JOIN_S)
    try:
        store = dist.TCPStore(
            meet.host, meet.port, is_master=meet.node == 0, timeout=timeout, wait_for_workers=False
        )
        if nodes > 1:
            store.set(f"{meet.run_id}/here/{meet.node}", "1")
            store.wait([f"{meet.run_id}/here/{node}" for node in range(nodes)], timeout)
    except RuntimeError as error:  # of torch: no answer, no name, no port
        raise PassingError(
            f"train: {nodes} nodes did not meet at {meet.host}:{meet.port} within {JOIN_S:.0f} s"
            f" ({str(error).splitlines()[0]}); check that they reach each other by name and that a"
            " firewall lets them"
        ) from error
    return store


def exchange_failures(
    store: dist.TCPStore, failures: list[tuple[int, int]], node: int, nodes: int
) -> list[tuple[int, int]]:
    """Bring together how the workers of all nodes ended, so that every node says the same."""
    everywhere = list(failures)
    with suppress(RuntimeError):  # of torch: the node that answers is gone
        store.set(f"ended/{node}", json.dumps(failures))
        timeout = timedelta(seconds=JOIN_S)
        for other in range(nodes):
            if other != node:
                store.wait([f"ended/{other}"], timeout)
                everywhere += [tuple(pair) for pair in json.loads(store.get(f"ended/{other}"))]
        store.set(f"read/{node}", "1")
        if node == 0:  # it answers until all have read
            store.wait([f"read/{other}" for other in range(nodes)], timeout)
    return everywhere
