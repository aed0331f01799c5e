"""What torchrun, where it has started this process, says of the run."""

import os

from opensora.acceleration.workers import inside_worker
from opensora.core.errors import ConfigError
from opensora.core.signals import STARTED_BY


def torchrun_size(nodes: int | None, processes: int | None) -> tuple[int, int] | None:
    """Nodes, and processes on each, of a run that torchrun has started; None of any other.

    Args:
        nodes: that were asked for, None for no matter.
        processes: on each node, the same.

    Raises:
        ConfigError: torchrun started others, or not as many on each node.
    """
    if not inside_worker() or STARTED_BY in os.environ:
        return None
    names = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
    world, local, launchers = (int(os.environ.get(name, "1")) for name in names)
    if world != local * launchers:
        raise ConfigError(
            f"torchrun has started {world} processes on {launchers} nodes, {local} of them here;"
            " give --nproc-per-node the same number on each node"
        )
    if nodes not in (None, launchers) or processes not in (None, local):
        raise ConfigError(
            f"torchrun has started {launchers} nodes of {local} processes, and --nodes or --gpus or"
            " --processes ask for others; make them equal, or leave --nodes and --processes out"
        )
    return launchers, local
