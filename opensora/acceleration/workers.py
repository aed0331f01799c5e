"""The processes of one training run: start, agree, sum, stop."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from opensora.config.groups import count_groups
from opensora.core.errors import CheckpointError, ConfigError, OpenSoraError, PassingError

PREFLIGHT_S = 60.0  # a worker that has not answered by then is taken for unreachable
COLLECTIVE_S = 1800.0  # rank 0 may write a large checkpoint while the others wait

_GLOO = "/gloo/"  # of the file that its errors name; they have no type of their own

Item = TypeVar("Item")


@dataclass(frozen=True)
class Workers:
    """This process among those of the run.

    Attributes:
        rank: number of this process, 0 .. world_size - 1.
        world_size: number of processes.
        device: where this process computes.
        sp_size: processes of a group, which share each video; neighbours by rank.
        sp_group: their process group; None where each process is alone.
    """

    rank: int
    world_size: int
    device: torch.device
    sp_size: int = 1
    sp_group: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    @property
    def num_groups(self) -> int:
        """Data-parallel ranks: groups that share a video, or single processes."""
        return self.world_size // self.sp_size

    @property
    def group(self) -> int:
        """Number of the group of this process, 0 .. num_groups - 1."""
        return self.rank // self.sp_size

    @property
    def place(self) -> int:
        """Number of this process within its group, 0 .. sp_size - 1."""
        return self.rank % self.sp_size

    @contextmanager
    def meeting(self) -> Iterator[None]:
        """Around what all workers do together.

        Raises:
            PassingError: another worker has ended; what that means, its own exit code says.
        """
        try:
            yield
        except RuntimeError as error:
            raise self._left_alone(error) from error

    @contextmanager
    def meeting_in_passing(self) -> Iterator[None]:
        """Around what computes as well, such as a backward pass, in which gradients meet.

        Raises:
            PassingError: another worker has ended. Other errors are raised as they are.
        """
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, dist.DistError) or _GLOO in str(error):
                raise self._left_alone(error) from error
            raise

    def _left_alone(self, error: RuntimeError) -> PassingError:
        reason = str(error).splitlines()[0]
        return PassingError(
            f"worker {self.rank}: another worker has ended, its lines say why ({reason})"
        )

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """Around what goes wrong for all workers alike: the main one alone says what.

        Raises:
            OpenSoraError: without words where the main worker says them.
        """
        try:
            yield
        except (CheckpointError, ConfigError) as error:
            if self.is_main:
                raise
            raise OpenSoraError("") from error

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` [N] over the workers, in place; every worker receives the same bits.

        Raises:
            OpenSoraError: another worker has ended.
        """
        if self.world_size > 1:
            with self.meeting():
                dist.all_reduce(values)
        return values

    def of_group(self, make: Callable[[], Item]) -> Item:
        """What the first worker of the group makes, a small picklable item, for all of it.

        Raises:
            OpenSoraError: it has ended.
        """
        if self.sp_group is None:
            return make()
        items = [make() if self.place == 0 else None]
        with self.meeting():
            dist.broadcast_object_list(items, self.group * self.sp_size, self.sp_group)
        return items[0]  # type: ignore[return-value]

    def gather(self, item: Item) -> list[Item]:
        """Collect one small picklable item from every worker, in rank order."""
        if self.world_size == 1:
            return [item]
        items: list[Item | None] = [None] * self.world_size
        dist.all_gather_object(items, item)
        return items  # type: ignore[return-value]

    def first(self, do: Callable[[], Item]) -> Item:
        """Let the main worker do something that the others wait for; all get what it returns.

        Raises:
            OpenSoraError: it could not be done; all workers raise it, the main one alone says why.
            PassingError: the same of what another try may not meet.
        """
        result: Item | OpenSoraError | None = None
        if self.is_main:
            try:
                result = do()
            except OpenSoraError as error:
                result = error
        result = self.gather(result)[0]
        if isinstance(result, OpenSoraError):
            if self.is_main:
                raise result
            raise PassingError("") if isinstance(result, PassingError) else OpenSoraError("")
        return result  # type: ignore[return-value]


def inside_worker() -> bool:
    """Whether torch.distributed.run, or our launcher in its place, started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def worker_group(*, gpus: int = 0, sp_size: int = 1, some: bool = False) -> Iterator[Workers]:
    """Join the process group of the run and leave it at the end.

    A process started by torch.distributed.run joins the group that its environment names; any
    other process forms a group of one, so that both go the same way through the plugins.

    Args:
        gpus: GPUs that each node was asked for; 0 computes on the CPU (gloo instead of nccl).
        sp_size: processes that share a video.
        some: more GPUs may be visible than are used.

    Raises:
        ConfigError: the visible GPUs are not those asked for, or the processes do not form groups
            of sp_size.
        OpenSoraError: another worker does not answer.
    """
    device = _device(gpus, some=some)
    backend = "nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(seconds=COLLECTIVE_S)
    if inside_worker():
        dist.init_process_group(backend, timeout=timeout)
    else:
        dist.init_process_group(
            backend, store=dist.HashStore(), rank=0, world_size=1, timeout=timeout
        )
    try:
        workers = Workers(dist.get_rank(), dist.get_world_size(), device)
        if workers.world_size > 1:
            check_connection(workers)
        yield in_groups(workers, sp_size, timeout)
    finally:
        dist.destroy_process_group()


def in_groups(workers: Workers, sp_size: int, timeout: timedelta) -> Workers:
    """The same workers, `sp_size` neighbours by rank in a group."""
    number = count_groups(workers.world_size, sp_size)
    if sp_size == 1:
        return workers
    groups = [  # every process takes part in making each
        dist.new_group(list(range(k * sp_size, (k + 1) * sp_size)), timeout=timeout)
        for k in range(number)
    ]
    return replace(workers, sp_size=sp_size, sp_group=groups[workers.rank // sp_size])


def check_connection(workers: Workers, *, timeout_s: float = PREFLIGHT_S) -> None:
    """Sum ones over all workers before anything expensive starts.

    Raises:
        PassingError: a worker did not answer within `timeout_s`.
        OpenSoraError: other workers answered than were started.
    """
    place = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
    timeout = timedelta(seconds=timeout_s)
    try:
        group = dist.new_group(backend="gloo", timeout=timeout)
        dist.monitored_barrier(group, timeout=timeout, wait_all_ranks=True)
        total = workers.sum(torch.ones(1, device=workers.device))
    except (RuntimeError, OpenSoraError) as error:
        reason = str(error).splitlines()[0]
        raise PassingError(
            f"train: rank {workers.rank} of {workers.world_size} got no answer from every worker"
            f" within {timeout_s:.0f} s through {place} ({reason}); check that all nodes run the"
            " same command and that a firewall does not stop them"
        ) from error
    if int(total.item()) != workers.world_size:
        raise OpenSoraError(
            f"train: {workers.world_size} workers were started but {int(total.item())} answered;"
            " start the run again, once per node"
        )


def _device(gpus: int, *, some: bool) -> torch.device:
    """The device of this process, after checking that the GPUs asked for are there."""
    if gpus == 0:
        return torch.device("cpu")
    visible = torch.cuda.device_count()
    if visible < gpus or (visible > gpus and not some):
        raise ConfigError(
            f"--gpus {gpus}: {visible} GPUs are visible on this node; ask the scheduler for"
            f" {gpus}, or pass --gpus {visible}"
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
