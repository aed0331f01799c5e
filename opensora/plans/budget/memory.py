"""What training a micro batch takes of a GPU's memory, before anything is started: an estimate.

Two parts. *States* are what a parameter costs: weight, gradient, moments of the optimizer, moving
average, and the copies that autocast makes. *Activations* are what is kept for the backward pass;
they grow with tokens, channels and blocks, since no attention keeps its scores. Korthikanti et al.
2022 (arXiv:2205.05198, eq. 1 without its last term) count 34 bytes a token and channel of a block
with one attention in 16 bit, 13 of them for the attention and its norm.

Fitted to what was measured: STDiT-XL/2 and STDiT2-XL/2, 32,768 tokens in eager mode on one H200,
took 66.8 and 75 GB with weights, gradients and their bf16 copies. A block of either has three
attentions; that along time has rotary positions and a norm of its own in STDiT2. Normalised
queries and keys are counted, not measured: the fp32 inputs of both norms. What a model of diffusers
keeps is counted by running it without values, see `counted.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from opensora.core.errors import ConfigError
from opensora.plans.budget.cost import Cost
from opensora.plans.budget.counted import CountedCost

USABLE = 0.9  # of the memory; the rest is for the allocator, the VAE and the text encoder
BYTES_PER_ATTENTION = 12  # a token and channel, in 16 bit
BYTES_PER_ROTATION = 8  # the same, of rotated queries and keys, and the norm before them
BYTES_PER_QK_NORM = 8  # the same, of normalised queries and keys
BYTES_PER_BLOCK = 20  # the same, of a block besides its attentions
_BYTES_OF_INPUT = 4  # what a recomputed block keeps: its input, in fp32
_WEIGHT = _GRADIENT = _MOMENT = _AVERAGE = 4
_COPY = 2  # of a weight, made by autocast and kept for the backward pass


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What decides the memory of a model besides its widths.

    Attributes:
        plugin: "ddp", "zero1", "zero2" or "fsdp".
        gpus: of the whole run.
        sp_size: GPUs that share a micro batch.
        half: whether matrix products run in 16 bit.
        grad_checkpoint: whether blocks are recomputed in the backward pass.
        moments: numbers that the optimizer keeps for a parameter.
        frozen: parameters that are not trained, as those below adapters.
    """

    plugin: str = "ddp"
    gpus: int = 1
    sp_size: int = 1
    half: bool = True
    grad_checkpoint: bool = False
    moments: int = 2
    frozen: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any], *, gpus: int, frozen: int = 0) -> "Setup":
        """Read a training config; `frozen` is that of its model."""
        optimizer = (config.get("optimizer") or {}).get("type", "adamw")
        return cls(
            plugin=config.get("plugin") or "ddp",
            gpus=gpus,
            sp_size=int(config.get("sp_size") or 1),
            half=config.get("dtype", "bf16") != "fp32",
            grad_checkpoint=bool(config.get("grad_checkpoint")),
            moments=1 if optimizer == "muon" else 2,
            frozen=frozen,
        )


def state_bytes(parameters: int, setup: Setup) -> float:
    """Bytes of weights, gradients, optimizer and moving average on the first rank.

    ZeRO splits moments, average, and from stage 2 on the gradients, over the ranks; each rank has a
    second copy of the weights that it updates. FSDP splits everything but the copies of autocast.
    Weights that are not trained have none of these, and are split by FSDP alone.
    """
    if setup.frozen:
        weights = _WEIGHT / (setup.gpus if setup.plugin == "fsdp" else 1)
        still = setup.frozen * (weights + (_COPY if setup.half else 0))
        return still + state_bytes(parameters - setup.frozen, replace(setup, frozen=0))
    kept = float(_WEIGHT + _AVERAGE + (_COPY if setup.half else 0))
    moments = float(_MOMENT * setup.moments)
    if setup.plugin == "fsdp":
        split = _WEIGHT + _AVERAGE + _GRADIENT + moments
        return parameters * (split / setup.gpus + kept - _WEIGHT - _AVERAGE)
    if not setup.plugin.startswith("zero"):
        return parameters * (kept + _GRADIENT + moments)
    gradients = _GRADIENT / (setup.gpus if setup.plugin != "zero1" else 1)
    split = moments + _WEIGHT + _AVERAGE
    return parameters * (kept - _AVERAGE + gradients + split / setup.gpus)


def token_bytes(cost: Cost, setup: Setup) -> float:
    """Bytes of a GPU that a token of the micro batch keeps for the backward pass."""
    if isinstance(cost, CountedCost):
        kept = cost.token_bytes(half=setup.half, grad_checkpoint=setup.grad_checkpoint)
        return kept / setup.sp_size
    layers = cost.layers
    attentions = layers.in_frame + layers.along_time + layers.joint + layers.cross
    blocks = (
        attentions * BYTES_PER_ATTENTION
        + layers.rotary * BYTES_PER_ROTATION
        + cost.normed_attentions * BYTES_PER_QK_NORM
        + cost.depth * BYTES_PER_BLOCK
    )
    channel = float(blocks if setup.half else 2 * blocks)
    if setup.grad_checkpoint:  # one block at a time, and the inputs of all
        channel = channel / cost.depth + cost.depth * _BYTES_OF_INPUT
    return channel * cost.hidden_size / setup.sp_size


def training_gb(cost: Cost, tokens: float, setup: Setup) -> float:
    """Peak of one GPU's memory in GB of 1e9 bytes, by the tokens of its largest micro batch."""
    return (state_bytes(cost.parameters, setup) + tokens * token_bytes(cost, setup)) / 1e9


def token_budget(cost: Cost, gpu_memory: float, setup: Setup) -> int:
    """Tokens of one micro batch that fit.

    Args:
        cost: widths of the model.
        gpu_memory: of one GPU, GB.
        setup: how it is trained.

    Raises:
        ConfigError: not even the weights and the optimizer fit.
    """
    states = state_bytes(cost.parameters, setup)
    tokens = int((gpu_memory * 1e9 * USABLE - states) / token_bytes(cost, setup))
    if tokens < 1:
        raise ConfigError(
            f"--gpu-memory {gpu_memory:g}: {cost.parameters / 1e6:.0f} M parameters and their"
            f" optimizer take {states / 1e9:.1f} GB; give more, or a smaller model"
        )
    return tokens


def advice(cost: Cost, batch_size: int, tokens: float, setup: Setup, usable: float) -> str:
    """What makes a micro batch fit that does not, least costly first.

    Args:
        cost: widths of the model.
        batch_size: its samples.
        tokens: of one sample.
        setup: how it is trained now.
        usable: memory that may be used, GB.

    Returns:
        A setting and the memory that it leads to, to end a sentence with.
    """
    options = [("grad_checkpoint=True", replace(setup, grad_checkpoint=True))]
    if setup.gpus > 1:
        options.append(("plugin='zero2'", replace(setup, plugin="zero2")))
        both = replace(setup, plugin="zero2", grad_checkpoint=True)
        options.append(("plugin='zero2' and grad_checkpoint=True", both))
        all_split = replace(both, plugin="fsdp")
        options.append(("plugin='fsdp' and grad_checkpoint=True", all_split))
    for words, changed in options:
        needed = training_gb(cost, batch_size * tokens, changed)
        if changed != setup and needed <= usable:
            return f"{words} makes it {needed:.1f} GB"
    changed = options[-1][1]
    left = usable * 1e9 - state_bytes(cost.parameters, changed)
    fitting = math.floor(left / (tokens * token_bytes(cost, changed)))
    if 1 <= fitting < batch_size:
        return f"a batch of {fitting} with {options[-1][0]} fits"
    return "a GPU with more memory, a smaller bucket or a smaller model does"
