"""A training pass without values, watched: its products, and what it keeps for its backward pass.

Tensors have sizes alone, so a model of any size passes in a second and takes no memory. Blocks of
one kind are run once, and once more to see what one more of them adds.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from opensora.models.open.family import OpenTransformer

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Pass:
    """What one sample took.

    Attributes:
        forward: operations.
        backward: the same.
        kept: bytes that wait for the backward pass, 16-bit copies of weights among them.
        largest: of them, what one more block of the largest kind adds.
        inputs: bytes that the blocks are given, which is what recomputed blocks keep.
    """

    forward: float
    backward: float
    kept: float
    largest: float
    inputs: float


class Blocks:
    """The lists of blocks of a model, of which it keeps one of each kind.

    Args:
        model: shortened in place.
    """

    def __init__(self, model: OpenTransformer) -> None:
        self._lists: dict[str, list[tuple[nn.Module, int]]] = {}
        for name, blocks in list(model.named_children()):
            if isinstance(blocks, nn.ModuleList):
                kinds: dict[Any, list[nn.Module]] = {}
                for block in blocks:
                    kinds.setdefault(_kind(block), []).append(block)
                self._lists[name] = [(same[0], len(same)) for same in kinds.values()]
        self._model = model

    def run(self, once: Callable[[], Pass]) -> Pass:
        """What a pass takes with all blocks, from passes with few; it is linear in their number.

        Args:
            once: makes a pass of the model as it stands.
        """
        one = self._with(None, once)
        added = [
            (self._with(block, once), times - 1)
            for kinds in self._lists.values()
            for block, times in kinds
        ]

        def total(name: str) -> float:
            first: float = getattr(one, name)
            return first + sum((getattr(two, name) - first) * more for two, more in added)

        largest = max(two.kept - one.kept for two, _ in added)
        names = ("forward", "backward", "kept", "inputs")
        return Pass(largest=largest, **{name: total(name) for name in names})

    def _with(self, twice: nn.Module | None, once: Callable[[], Pass]) -> Pass:
        """A pass of one block of each kind, and of one of them again."""
        for name, kinds in self._lists.items():
            kept = [b for block, _ in kinds for b in [block] * (2 if block is twice else 1)]
            setattr(self._model, name, nn.ModuleList(kept))
        return once()


def _kind(block: nn.Module) -> tuple[Any, ...]:
    weights = [(name, p.shape, p.requires_grad) for name, p in block.named_parameters()]
    return type(block), *weights


def watched_pass(
    model: OpenTransformer,
    args: tuple[Tensor, ...],
    conditions: Mapping[str, Any],
    *,
    half: bool,
) -> Pass:
    """Forward and backward pass, made where tensors have no values.

    Args:
        model: as it stands; its own tensors are left out of it.
        args: of its forward pass, without values.
        conditions: likewise.
        half: whether matrix products run in 16 bit.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    state = {
        name: torch.empty(t.shape, dtype=t.dtype, requires_grad=t.requires_grad)
        for name, t in tensors
    }
    weights = {t.untyped_storage()._cdata for t in state.values()}
    kept: dict[int, int] = {}  # a storage -> its bytes
    inputs: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
        inputs.append(hidden.untyped_storage().nbytes())

    hooks = [
        block.register_forward_pre_hook(begin, with_kwargs=True) for block in set(model.all_blocks)
    ]
    counter = FlopCounterMode(
        display=False, custom_mapping={_FUSED: _scores, _FUSED_BACKWARD: _scores_backward}
    )
    saved = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    try:
        with counter, saved, warnings.catch_warnings(action="ignore"):  # of slow kernels
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                out = torch.func.functional_call(model, state, args, dict(conditions))
            forward, waiting = counter.get_total_flops(), sum(kept.values())
            out.sum().backward()
    finally:
        for hook in hooks:
            hook.remove()
    backward = counter.get_total_flops() - forward
    return Pass(forward, backward, waiting, largest=0.0, inputs=sum(inputs))


def _scores(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Products of fused attention, which torch counts on GPUs alone."""
    return int(sdpa_flop_count(query, key, value))


def _scores_backward(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> int:
    """Twice those of the forward pass; that a kernel computes scores anew is not counted."""
    return 2 * _scores(query, key, value)
