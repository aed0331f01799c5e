"""Muon: momentum whose direction is orthogonalised, for the hidden matrices of a network.

Matrices of one shape are orthogonalised together, and in the type in which the device multiplies
fastest: bf16 on a GPU and on a CPU that has instructions for it, fp32 on any other CPU, which
emulates bf16 at a tenth of the speed of fp32.

Axes: K matrices of one shape, m rows, n columns.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from opensora.acceleration.deal import Deal
from opensora.acceleration.precision import cpu_is_fast_at_bf16

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x^3 and x^5: the steepest at 0 that stay near 1
_SMALLEST_NORM = 1e-7  # of a matrix: one of zeros stays one
_MOST_AT_ONCE = 16  # matrices: bounds the memory of a step, large ones fill a device alone


class Muon(Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    The rate of a tall matrix is raised by sqrt(rows / columns), so that a step changes the outputs
    of a layer by the same amount whatever its shape.

    Attributes:
        found_inf: float [] on the device: 1 leaves the next step out, without anybody waiting to
            know; None never does.

    Args:
        params: matrices [m, n].
        lr: learning rate.
        momentum: share of the running mean that a step keeps.
        weight_decay: share of the weights, times lr, that a step takes off.

    Raises:
        ValueError: a parameter is no matrix.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.deal: Deal | None = None  # where workers hold pieces of the matrices
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim != 2:
                    raise ValueError(f"Muon takes matrices, not the shape {tuple(weight.shape)}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all matrices that have a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            pairs = [(w, w.grad) for w in group["params"] if w.grad is not None]
            if pairs:
                weights, gradients = map(list, zip(*pairs, strict=True))
                self._update(weights, gradients, group)

    def _update(
        self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]
    ) -> None:
        owners = weights if self.deal is None else [w for w in weights if self.deal.owns(w)]
        whole = gradients if self.deal is None else self.deal.collect(weights, gradients)
        for weight, gradient in zip(owners, whole, strict=True):
            if "momentum_buffer" not in self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(gradient)
        means = [self.state[weight]["momentum_buffer"] for weight in owners]
        decay: float | Tensor = 1 - group["lr"] * group["weight_decay"]
        if self.found_inf is not None:  # a gradient equal to the mean leaves the mean as it is
            left_out = self.found_inf > 0
            pairs = zip(whole, means, strict=True)
            whole = [torch.where(left_out, mean, gradient) for gradient, mean in pairs]
            decay = torch.where(left_out, 1.0, decay)
        if owners:
            torch._foreach_lerp_(means, whole, 1 - group["momentum"])
            whole = orthogonalise_all(torch._foreach_lerp(whole, means, group["momentum"]))
            if self.found_inf is not None:
                torch._foreach_mul_(whole, 1 - self.found_inf)
        shapes = [tuple(weight.shape) for weight in weights]
        if self.deal is not None:
            shapes = [self.deal.shape(weight) for weight in weights]
            weights, whole = self.deal.pieces(weights), self.deal.give_back(weights, whole)
        torch._foreach_mul_(weights, decay)
        for weight, direction, (rows, columns) in zip(weights, whole, shapes, strict=True):
            weight.sub_(direction, alpha=group["lr"] * math.sqrt(max(1.0, rows / columns)))


def orthogonalise_all(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Orthogonalise matrices of any shapes, those of one shape together.

    Args:
        matrices: each [m, n], all on one device.

    Returns:
        In the same order, each with its own shape and type.
    """
    shapes: dict[tuple[int, int], list[int]] = {}
    for index, matrix in enumerate(matrices):
        rows, columns = matrix.shape
        shapes.setdefault((min(rows, columns), max(rows, columns)), []).append(index)
    results: dict[int, Tensor] = {}
    for indices in shapes.values():
        for start in range(0, len(indices), _MOST_AT_ONCE):
            part = indices[start : start + _MOST_AT_ONCE]
            wide = torch.stack([_wide(matrices[index]) for index in part])  # [K, m, n], m <= n
            for index, result in zip(part, orthogonalise(wide), strict=True):
                own = matrices[index]
                results[index] = (result.T if _is_tall(own) else result).to(own.dtype)
    return [results[index] for index in range(len(matrices))]


def orthogonalise(matrices: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """Replace the singular values of each matrix by numbers near 1, keeping its directions.

    Five steps of a Newton-Schulz iteration of degree five. Singular values above 1/500 of the
    Frobenius norm end between 0.68 and 1.21, smaller ones are raised at most 485-fold. Against
    exact arithmetic the result is off by less than 2e-5 of its norm in fp32; in bf16 by about 2 per
    cent where the singular values lie within a factor of 20, by 10 where within a factor of 1000.

    Args:
        matrices: [K, m, n], m <= n.
        dtype: of the products; None takes the one that the device is fast at.

    Returns:
        [K, m, n] in `dtype`.
    """
    x = matrices.to(dtype or fast_dtype(matrices.device))
    norm = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    x = x / norm.clamp(min=_SMALLEST_NORM)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # [K, m, m]
        factor = torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic)
        x = torch.baddbmm(x, factor, x, beta=linear)
    return x


def fast_dtype(device: torch.device) -> torch.dtype:
    """The type in which a device multiplies fastest, where a few per cent do not matter."""
    if device.type == "cpu" and not cpu_is_fast_at_bf16():
        return torch.float32
    return torch.bfloat16


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _wide(matrix: Tensor) -> Tensor:
    return matrix.T if _is_tall(matrix) else matrix
