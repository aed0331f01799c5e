"""Before anything is submitted: jobs that would never start, be refused or be lost sight of."""

from collections.abc import Iterable
from typing import Any

from opensora.core.errors import ConfigError
from opensora.dag.cluster.fit import asked_of, check_account, misfit
from opensora.dag.cluster.slurm import ControllerAwayError, accounts, look, under_qos
from opensora.dag.cluster.unanswered import keep_unanswered_jobs


def check_cluster(workflow: Any, jobs: Iterable[Any], partitions: object) -> None:
    """Refuse a run whose jobs the cluster can not take; let none of the others be lost sight of.

    One job of each rule, and of each stage of training, stands for all of them. Where SLURM says
    nothing of itself there is nothing to compare with, and the jobs say it.

    Args:
        workflow: Snakemake's; only one that submits to SLURM is looked at.
        jobs: that would run.
        partitions: file of partitions, None for none.

    Raises:
        ControllerAwayError: nothing can be submitted now.
        ConfigError: says of the first such job what it asks for, what there is, what to change.
    """
    if not _submits(workflow):
        return
    keep_unanswered_jobs(workflow.executor_plugin.executor)
    found: dict[tuple[str, str], Any] = {}
    for job in jobs:
        if not job.is_local:
            stage = job.wildcards_dict.get("stage", "") if job.rule.name == "train" else ""
            found.setdefault((job.rule.name, str(stage)), job)
    try:
        slurm = under_qos(look(), getattr(workflow.executor_settings, "qos", None))
    except ControllerAwayError:
        raise
    except ConfigError:
        return
    asked = [asked_of(job) for job in found.values()]
    for account in dict.fromkeys(one.account for one in asked):
        if why := check_account(account, slurm, accounts):
            raise ConfigError(f"SLURM: {why}")
    for one in asked:
        if why := misfit(one, slurm, str(partitions) if partitions else None):
            raise ConfigError(f"SLURM: {why}")


def _submits(workflow: Any) -> bool:
    module = getattr(getattr(workflow, "executor_plugin", None), "executor", None)
    return getattr(module, "__module__", "") == "snakemake_executor_plugin_slurm"
