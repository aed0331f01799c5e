"""Whether a cluster has what a job asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from opensora.core.errors import ConfigError, did_you_mean
from opensora.dag.cluster.partitions import read_partitions
from opensora.dag.cluster.slurm import Nodes, Partition, Slurm


@dataclass(frozen=True)
class Asked:
    """What a job asks for.

    Attributes:
        rule: of the job.
        stage: of training, else "".
        mem_mb: on each node.
        runtime: minutes.
        threads: CPUs on each node.
        nodes: how many.
        gpus: on each node.
        mpi: how tasks are started, None for one task.
        partition: that it names itself; "" leaves it to the partition file, or to SLURM.
        account: that it names; "" for none.
    """

    rule: str
    stage: str
    mem_mb: int
    runtime: int
    threads: int
    nodes: int = 1
    gpus: int = 0
    mpi: str | None = None
    partition: str = ""
    account: str = ""

    @property
    def name(self) -> str:
        """For people: `train stage1`."""
        return f"{self.rule} {self.stage}".rstrip()


def asked_of(job: Any) -> Asked:
    """What one of Snakemake's jobs asks for."""
    given: Mapping[str, Any] = job.resources
    nodes = int(given.get("nodes") or 1)
    stage = str(job.wildcards_dict.get("stage", "")) if job.rule.name == "train" else ""
    return Asked(
        job.rule.name,
        stage,
        mem_mb=int(given.get("mem_mb") or 0),
        runtime=int(given.get("runtime") or 0),
        threads=int(given.get("cpus_per_task") or job.threads),
        nodes=nodes,
        gpus=-(-int(given.get("gpu") or 0) // nodes),
        mpi=given.get("mpi"),
        partition=str(given.get("slurm_partition") or ""),
        account=str(given.get("slurm_account") or ""),
    )


def partition_of(asked: Asked, slurm: Slurm, file: str | Path | None) -> str:
    """The partition that a job goes to; "" where nobody says.

    The plugin's own choice: what the job names, else what fits best in the partition file, else
    SLURM's default.
    """
    if asked.partition:
        return asked.partition
    named = {"mem_mb": asked.mem_mb, "runtime": asked.runtime, "nodes": asked.nodes}
    job: Any = SimpleNamespace(threads=asked.threads, resources=dict(named))
    if asked.gpus:
        job.resources["gpu"] = asked.gpus * asked.nodes
    if asked.mpi:
        job.resources |= {"mpi": asked.mpi, "tasks": asked.nodes}
    scores = []
    for known in _read(str(file)) if file else ():
        score = known.score_job_fit(job)
        if score is not None:
            scores.append((score, known.name))
    if not scores:
        return slurm.default
    best = max(score for score, _ in scores)
    return next(name for score, name in scores if score == best)  # of equal ones the first


def misfit(asked: Asked, slurm: Slurm, file: str | Path | None) -> str:
    """Why a job would never start, and what to do about it; "" where it would.

    Args:
        asked: what it asks for.
        slurm: the cluster; where no partition is seen, nothing is known.
        file: of partitions, as the profile names it; None for none.
    """
    name = partition_of(asked, slurm, file)
    if not slurm.partitions or not name:
        return ""
    if name not in slurm.partitions:
        known = list(slurm.partitions)
        hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
        where = "slurm_partition in the profile" if asked.partition else str(file)
        return f"{asked.name}: partition {name!r} does not exist{hint}; mend {where}"
    partition = slurm.partitions[name]
    return _beyond_time(asked, partition) or _beyond_nodes(asked, partition)


def check_account(given: str, slurm: Slurm, known: Callable[[], tuple[list[str], str]]) -> str:
    """Why sbatch would refuse the account of jobs; "" where it takes it.

    Args:
        given: account of the profile, "" for none.
        slurm: the cluster.
        known: asks for the accounts of this user, and the usual one.
    """
    if not slurm.needs_account:
        return ""
    accounts, usual = known()
    if given:
        if not accounts or given.lower() in (name.lower() for name in accounts):
            return ""
        return (
            f"account {given!r} is none of yours, which are {', '.join(accounts)}; mend"
            " slurm_account in block 1 of the profile"
        )
    if usual:
        return ""
    choice = f"one of {', '.join(accounts)}" if accounts else "the account of your project"
    return (
        "this cluster refuses jobs without an account and you have no default; write"
        f" slurm_account: {choice} into block 1 of the profile"
    )


@cache
def _read(file: str) -> Sequence[Any]:
    try:
        return read_partitions(file)
    except ConfigError:
        return ()  # said where the limits are read


def _beyond_time(asked: Asked, partition: Partition) -> str:
    if asked.runtime <= partition.runtime:
        return ""
    return (
        f"{asked.name}: asks for {asked.runtime} minutes and partition {partition.name} allows"
        f" {partition.runtime:.0f}, so the job would wait for ever; set resources.longest_job,"
        f" resources.{asked.rule}.runtime, max_runtime in the partition file, or slurm-qos in the"
        " profile, to a QOS that lifts this limit"
    )


def _beyond_nodes(asked: Asked, partition: Partition) -> str:
    """Narrow the nodes down, quantity by quantity, until none is left."""
    left = list(partition.nodes)
    mends = {
        "gpus": "gpus of the stage" if asked.stage else f"resources.{asked.rule}.gpus",
        "mem_mb": f"resources.{asked.rule}.mem",
        "cpus": f"resources.{asked.rule}.threads",
    }
    wanted = {"gpus": asked.gpus, "mem_mb": asked.mem_mb, "cpus": asked.threads}
    for field, amount in wanted.items():
        fitting = [nodes for nodes in left if getattr(nodes, field) >= amount]
        if not fitting:
            most = max((getattr(nodes, field) for nodes in left), default=0)
            return (
                f"{asked.name}: asks for {_words(field, amount)} on a node and partition"
                f" {partition.name} has {_words(field, most)} at most"
                f"{_beside(field, left, partition)}; set {mends[field]} to less, or another"
                " partition"
            )
        left = fitting
    count = sum(nodes.count for nodes in left)
    if asked.nodes > count:
        return (
            f"{asked.name}: asks for {asked.nodes} nodes and partition {partition.name} has"
            f" {count} that are large enough; set nodes of the stage to {count}, or another"
            " partition"
        )
    return ""


def _beside(field: str, left: list[Nodes], partition: Partition) -> str:
    """Say that larger nodes lack something else."""
    everywhere = max((getattr(nodes, field) for nodes in partition.nodes), default=0)
    here = max((getattr(nodes, field) for nodes in left), default=0)
    return " on nodes with the GPUs or memory asked for" if everywhere > here else ""


def _words(field: str, amount: float) -> str:
    if field == "mem_mb":
        return f"{amount / 1000:g} GB"
    return f"{amount} {'GPUs' if field == 'gpus' else 'CPUs'}"


def longest(partition: Partition) -> str:
    """Time limit of a partition for people."""
    if partition.runtime == inf:
        return "no time limit"
    hours = partition.runtime / 60
    return f"jobs up to {hours / 24:g} d" if hours % 24 == 0 else f"jobs up to {hours:g} h"
