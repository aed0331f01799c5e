"""How DDP's workers average their gradients: in the order of the ranks, or in bf16."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from opensora.acceleration.workers import Workers


def set_averaging(ddp: Any, workers: Workers, reduce_dtype: torch.dtype) -> None:
    """Choose how a DistributedDataParallel averages; it must not have run yet.

    Args:
        ddp: of torch.
        workers: of the run; one alone has nothing to average, and rounds nothing.
        reduce_dtype: of what the workers send each other.
    """
    if workers.world_size == 1:
        return
    is_narrow = reduce_dtype == torch.bfloat16
    if workers.device.type != "cpu":
        # on GPUs, where no bits are promised, the sum of the library is faster
        if is_narrow:
            ddp.register_comm_hook(None, bf16_compress_hook)
    elif is_narrow:
        ddp.register_comm_hook(workers.world_size, _mean_of_bf16)
    elif workers.world_size > 2:
        ddp.register_comm_hook(workers.world_size, _mean_in_order)


def _mean_in_order(world_size: int, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Average the gradients of a bucket, adding them in the order of the ranks.

    DDP groups its gradients anew after the first step. The usual sum begins at another rank for
    each part of a group, so that with three ranks or more the bits of a run would depend on where
    it resumed. (A sum of two is the same either way round.)
    """
    return _mean(world_size, bucket.buffer(), bucket.buffer())


def _mean_of_bf16(world_size: int, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """The same of gradients rounded to bf16; the sum itself is fp32."""
    return _mean(world_size, bucket.buffer(), bucket.buffer().bfloat16())


def _mean(world_size: int, target: Tensor, sent: Tensor) -> torch.futures.Future[Tensor]:
    """Put the mean of what all ranks send into `target`, added in the order of the ranks."""
    parts = [torch.empty_like(sent) for _ in range(world_size)]
    gathered = dist.all_gather(parts, sent, async_op=True).get_future()

    def mean(_: object) -> Tensor:
        total = target.copy_(parts[0])
        for part in parts[1:]:
            total.add_(part)
        return total.div_(world_size)

    return gathered.then(mean)
