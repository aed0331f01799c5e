"""The compiler of torch: whether it works here, and how much it may compile."""

import os

import torch
from torch._dynamo.exc import TorchDynamoException


def compiler_problem(device: torch.device) -> str:
    """Why nothing can be compiled for a device, in a line; empty where a small function can."""
    size = 1 + int.from_bytes(os.urandom(2))  # one that does not lie in the cache
    try:
        torch.compile(lambda x: x + 1, dynamic=False)(torch.zeros(size, device=device))
    except TorchDynamoException as error:
        return str(error).partition("\n")[0]
    return ""


def allow_graphs(number: int) -> None:
    """Let torch compile the code of a block so many times, if that is more than it does already."""
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, number)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, number)
