"""FSDP2: weights, gradients and optimizer state split over all workers, block by block.

Each block gathers its weights before it computes and lets them go after. The root is split too, or
the gradients of what stands outside of the blocks would not be averaged. Lower precision is an
autocast as under every plugin: FSDP2's own would round inputs, so that timestep 999 became 1000.
"""

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from opensora.acceleration.workers import Workers


def split_model(
    model: nn.Module,
    optimizer: Optimizer,
    workers: Workers,
    reduce_dtype: torch.dtype = torch.float32,
) -> None:
    """Split a model in place, and let its optimizer, which has no state yet, hold the parts.

    Args:
        model: with equal weights on all workers.
        optimizer: over its parameters.
        workers: all of them get a part.
        reduce_dtype: of gradients that they send each other; one alone sends none.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    mesh = init_device_mesh(workers.device.type, (workers.world_size,))
    sends = reduce_dtype if workers.world_size > 1 else torch.float32
    policy = MixedPrecisionPolicy(reduce_dtype=sends, cast_forward_inputs=False)
    for block in getattr(model, "all_blocks", []):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    parts = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [parts[names[id(parameter)]] for parameter in group["params"]]


def whole_norm(norm: Tensor) -> Tensor:
    """A norm of gradients as a plain tensor."""
    return norm.full_tensor() if isinstance(norm, DTensor) else torch.as_tensor(norm)
