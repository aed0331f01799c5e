"""Limits of a cluster's partitions, from the file that the SLURM plugin reads as well."""

from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from opensora.core.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """The most that a job of one class may ask for; infinite where nobody says.

    Attributes:
        mem_mb: of the largest node, MB.
        runtime: of the longest job, minutes.
    """

    mem_mb: float = inf
    runtime: float = inf

    def within(self, other: "Limits") -> "Limits":
        """Both at once."""
        return Limits(min(self.mem_mb, other.mem_mb), min(self.runtime, other.runtime))


@cache
def partition_limits(path: str | Path, *, gpu: bool) -> Limits:
    """The largest limits among the partitions that jobs of a class go to.

    Args:
        path: what `generate-slurm-partition-config` wrote, or the same by hand.
        gpu: of jobs with GPUs; others go to partitions without, if there is one.

    Raises:
        ConfigError: the file is not there or not of this form.
    """
    limits = [partition.limits for partition in read_partitions(path)]
    fitting = [limit for limit in limits if (limit.max_gpu > 0) == gpu] or ([] if gpu else limits)
    if not fitting:
        return Limits()
    return Limits(
        max(float(limit.max_mem_mb) for limit in fitting),
        max(float(limit.max_runtime) for limit in fitting),
    )


def read_partitions(path: str | Path) -> list[Any]:
    """The partitions of a file, as the plugin has them.

    Raises:
        ConfigError: the file is not there or not of this form.
    """
    # the plugin's own reader: names of fields and times such as 2-00:00:00 are its own
    from snakemake_executor_plugin_slurm.partitions import read_partition_file
    from snakemake_interface_common.exceptions import WorkflowError

    try:
        return list(read_partition_file(Path(path)))
    except (WorkflowError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path}: {str(error).strip()}; expected `partitions:` with a name and its limits, as"
            f" `generate-slurm-partition-config -o {path}` writes it on a login node"
        ) from error
