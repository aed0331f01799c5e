"""The computations of `bench kernels` at the shapes of the XL/2 models.

Axes: B samples, S sequences of a sample, H heads, L tokens, d channels of a head, D = H * d.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from opensora.models.layers.attention import Attend, attend
from opensora.models.layers.kernels.backends import FLASH_ATTN, backend_attend, installed
from opensora.models.layers.kernels.probe import Shape, random_input
from opensora.models.layers.norms import NORM_EPS, modulate
from opensora.models.layers.positions import rotate, rotation_table

TEXT = 120  # tokens of a caption

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """A computation that several functions can do.

    Attributes:
        name: with its shape.
        inputs: of every function.
        functions: name -> function; the first one says in float32 what is right.
        least_gb: what must be moved there and back.
    """

    name: str
    inputs: tuple[Tensor, ...]
    functions: dict[str, Function]
    least_gb: float


def _gb(*tensors: Tensor, times: int) -> float:
    return times * sum(tensor.nbytes for tensor in tensors) / 1e9


def _attends(shape: Shape) -> dict[str, Attend]:
    """Torch's own choice and every backend that could serve."""
    if shape.device.type != "cuda":
        return {"torch": attend}
    names = ["cudnn", "flash", "efficient", *([FLASH_ATTN] if installed(FLASH_ATTN) else [])]
    return {"torch": attend, **{name: backend_attend(name, alone=True) for name in names}}


def short_cases(shape: Shape, share: int) -> list[Case]:
    """Temporal attention behind its linear layer, with and without norm and rotation."""
    cases = []
    for sequences, tokens in ((2048, 16), (1024, 64)):
        for normed in (False, True):
            size = (1, tokens, sequences // share, 3 * shape.heads * shape.head_size)
            qkv = random_input(shape, size)
            table = rotation_table(tokens, shape.head_size, device=shape.device) if normed else None
            functions = {
                name: _temporal(shape.heads, table, function)
                for name, function in _attends(shape).items()
            }
            functions |= _fused_temporal(shape, tokens, table)
            name = f"short_attention {sequences} x {tokens}{', norm, rotary' if normed else ''}"
            # qkv twice and its gradient; the output and its gradient are a third each
            least = _gb(qkv, times=3) + _gb(qkv, times=2) / 3
            cases.append(Case(name, (qkv,), functions, least))
    return cases


def _temporal(num_heads: int, table: Tensor | None, attend: Attend) -> Function:
    """Attention along the second axis of qkv [B, L, S, 3 D], as the models do without a kernel."""

    def call(qkv: Tensor) -> Tensor:
        x = qkv.transpose(1, 2).flatten(0, 1).contiguous()  # [B * S, L, 3 D]
        q, k, v = x.unflatten(-1, (3, num_heads, -1)).unbind(2)
        if table is not None:
            q, k = (
                F.rms_norm(rotate(y.float(), table[:, None]), y.shape[-1:], eps=NORM_EPS).to(v)
                for y in (q, k)
            )
        out = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), None)
        return out.transpose(1, 2).reshape(*qkv.shape[0::2][:2], qkv.shape[1], -1).transpose(1, 2)

    return call


def _fused_temporal(shape: Shape, tokens: int, table: Tensor | None) -> dict[str, Function]:
    """The kernel of short sequences, where it serves, with its own tiles and with others."""
    if importlib.util.find_spec("triton") is None:
        return {}
    from opensora.models.layers.kernels.short import short_attention, tile
    from opensora.models.layers.kernels.short_kernel import serves

    if not serves(shape.device, shape.dtype, tokens, shape.head_size):
        return {}
    weight = None if table is None else torch.ones(shape.head_size, device=shape.device)

    def of_rows(rows: int) -> Function:
        return lambda qkv: short_attention(
            qkv, shape.heads, weight, weight, table, rotate_first=True, rows=rows
        )

    others = [rows for rows in (16, 32, 64) if rows >= tokens and rows != tile(tokens)[0]]
    return {"fused": of_rows(0), **{f"fused, {rows} rows": of_rows(rows) for rows in others}}


def attention_cases(shape: Shape, share: int) -> list[Case]:
    """Spatial attention of 256 and 512 pixels."""
    cases = []
    for sequences, tokens in ((128, 256), (64, 1024)):
        size = (max(1, sequences // share), shape.heads, tokens, shape.head_size)
        q, k, v = (random_input(shape, size) for _ in range(3))
        functions: dict[str, Function] = dict(_attends(shape))
        name = f"attention {sequences} x {tokens}"
        cases.append(Case(name, (q, k, v), functions, _gb(q, k, v, times=3) + _gb(q, times=2)))
    return cases


def cross_cases(shape: Shape, share: int) -> list[Case]:
    """Attention of 4,096 tokens to captions, all of one length and each of its own."""
    samples, tokens = max(1, 8 // share), 4096 // (1 if share == 1 else 8)
    q = random_input(shape, (samples, shape.heads, tokens, shape.head_size))
    k, v = (random_input(shape, (samples, shape.heads, TEXT, shape.head_size)) for _ in range(2))
    lengths = torch.linspace(TEXT // 8, TEXT, samples, device=shape.device)
    mask = (torch.arange(TEXT, device=shape.device) < lengths[:, None])[:, None, None]
    least = _gb(q, k, v, times=3) + _gb(q, times=2)
    attends = _attends(shape)
    ragged = {name: _masked(function, mask) for name, function in attends.items()}
    return [
        Case(f"cross_attention 8 x 4096 to {TEXT}", (q, k, v), dict(attends), least),
        Case(f"cross_attention 8 x 4096 to 15..{TEXT}", (q, k, v), ragged, least),
    ]


def _masked(attend: Attend, mask: Tensor) -> Function:
    return lambda q, k, v: attend(q, k, v, mask)


def norm_cases(shape: Shape, share: int) -> list[Case]:
    """The modulated norm of 32,768 and 131,072 tokens, in both types of the residual stream."""
    functions: dict[str, Function] = {"torch": modulate}
    if shape.device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from opensora.models.layers.kernels.adaptive import fused_modulate

        functions["fused"] = fused_modulate
    width = shape.heads * shape.head_size
    cases = []
    for samples, rows in ((8, 32_768), (2, 131_072)):
        for dtype in dict.fromkeys((torch.float32, shape.dtype)):
            kind = Shape(shape.device, dtype, shape.heads, shape.head_size, False, False)
            size = (samples, 1, rows // samples // share, width)
            x = random_input(kind, size)
            shift, scale = (random_input(kind, (samples, 1, 1, width)) for _ in range(2))
            name = f"layer_norm {rows} {str(dtype).removeprefix('torch.')}"
            cases.append(Case(name, (x, shift, scale), functions, _gb(x, times=5)))
    return cases
