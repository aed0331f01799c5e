"""FSDP2: weights, gradients and optimizer state split over all workers, block by block.

Each block gathers its weights before it computes and lets them go after. The root is split too, or
the gradients of what stands outside of the blocks would not be averaged. Lower precision is an
autocast as under every plugin: FSDP2's own would round inputs, so that timestep 999 became 1000.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from opensora.acceleration.workers import Workers


def split_model(model: nn.Module, optimizer: Optimizer, workers: Workers) -> None:
    """Split a model in place, and let its optimizer, which has no state yet, hold the parts.

    Args:
        model: with equal weights on all workers.
        optimizer: over its parameters.
        workers: all of them get a part.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    mesh = init_device_mesh(workers.device.type, (workers.world_size,))
    for block in getattr(model, "all_blocks", []):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    parts = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [parts[names[id(parameter)]] for parameter in group["params"]]


def gather(value: Any, *, keep: bool) -> Any:
    """Whole tensors in place of parts, anywhere in mappings and lists; all workers take part.

    Args:
        value: the same on all workers but for their parts.
        keep: whether this worker wants the whole, on the CPU; else it gets None for each part.
    """
    if isinstance(value, Mapping):
        return {name: gather(inner, keep=keep) for name, inner in value.items()}
    if isinstance(value, DTensor):
        whole = value.full_tensor()
        return whole.cpu() if keep else None  # where there is room for all of them
    return value


def split_like(value: Tensor, part: Tensor) -> Tensor:
    """The part of this worker of a whole tensor that all have; as it is where `part` is whole."""
    if not isinstance(part, DTensor):
        return value
    value = value.to(part.device)
    return distribute_tensor(value, part.device_mesh, part.placements, src_data_rank=None)


def split_state(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """The state of a whole optimizer, as `state_dict` returns it, with the parts of this worker."""
    parts = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def split(index: int, value: Any) -> Any:
        is_like = isinstance(value, Tensor) and value.shape == parts[index].shape
        return split_like(value, parts[index]) if is_like else value

    moments = {
        index: {name: split(index, value) for name, value in entries.items()}
        for index, entries in state["state"].items()
    }
    return {**state, "state": moments}


def whole_norm(norm: Tensor) -> Tensor:
    """A norm of gradients as a plain tensor."""
    return norm.full_tensor() if isinstance(norm, DTensor) else torch.as_tensor(norm)
