"""Short attention by its formula, and the shapes at which the kernels are held against it."""

import torch
import torch.nn.functional as F

from opensora.models.layers.norms import NORM_EPS
from opensora.models.layers.positions import rotation_table

SHAPES = [  # samples, tokens, places, heads, channels of a head
    (2, 16, 3, 2, 72),  # one sequence a tile
    (1, 5, 7, 1, 64),  # three in 16 rows, and a last tile that is not full
    (3, 9, 1, 1, 40),  # three in 32
    (1, 20, 2, 1, 80),  # three in 64
    (2, 40, 1, 1, 128),  # one in 64, and padding
    (1, 64, 2, 1, 96),
    (4, 1, 3, 1, 32),
]

SETTINGS = [
    {"norm": False, "rotate": False},
    {"norm": False, "rotate": True},
    {"norm": True, "rotate": False},
    {"norm": True, "rotate": True, "rotate_first": True},
    {"norm": True, "rotate": True, "rotate_first": False},
]


def plain(qkv, num_heads, q_weight, k_weight, rotation, rotate_first):
    """The same by einsum and complex numbers, in float64."""
    q, k, v = qkv.double().unflatten(-1, (3, num_heads, -1)).unbind(3)  # [B, L, S, H, d]

    def turn(x):
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        turns = torch.view_as_complex(rotation.double().contiguous())[:, None, None]
        return torch.view_as_real(pairs * turns).flatten(-2)

    def prepare(x, weight):
        if rotation is not None and rotate_first:
            x = turn(x)
        if weight is not None:
            x = F.rms_norm(x, x.shape[-1:], weight.double(), NORM_EPS)
        return turn(x) if rotation is not None and not rotate_first else x

    q, k = prepare(q, q_weight), prepare(k, k_weight)
    weights = (torch.einsum("blshd,bmshd->bshlm", q, k) / q.shape[-1] ** 0.5).softmax(-1)
    return torch.einsum("bshlm,bmshd->blshd", weights, v).flatten(3)


def run(function, shape, dtype, *, norm, rotate, rotate_first=True, factor=1.0, device="cpu"):
    B, L, S, H, d = shape
    generator = torch.Generator().manual_seed(0)
    qkv = factor * torch.randn(B, L, S, 3 * H * d, generator=generator)
    qkv = qkv.to(device, dtype).requires_grad_()
    weights = [None, None]
    if norm:
        weights = [torch.rand(d, generator=generator).add(0.5).to(device) for _ in range(2)]
        weights = [weight.requires_grad_() for weight in weights]
    grad = torch.randn(B, L, S, H * d, generator=generator).to(device, dtype)
    out = function(
        qkv, H, *weights, rotation_table(L, d, device=device) if rotate else None, rotate_first
    )
    out.backward(grad.to(out.dtype))
    return [out.detach(), qkv.grad, *(weight.grad for weight in weights if norm)]
