"""The Triton side of `short`: a tile of whole sequences of one head, forward and backward.

A head is held in two parts, FIRST and TAIL channels, so that 72 costs 80 and not 128. All
arithmetic besides the products is float32; the products take the type of q, k and v.
"""

import triton
import triton.language as tl

_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def forward_kernel(
    qkv,
    q_weight,
    k_weight,
    rotation,
    out,
    sequences,
    side,
    L: tl.constexpr,
    H: tl.constexpr,
    D: tl.constexpr,
    FIRST: tl.constexpr,
    TAIL: tl.constexpr,
    ROWS: tl.constexpr,
    NORM: tl.constexpr,
    ROTATE: tl.constexpr,
    ROTATE_FIRST: tl.constexpr,
    EPS: tl.constexpr,
    SCALE: tl.constexpr,
):
    """One tile: position and normalise q and k, attend, write."""
    head, place, member, token, there = _tile(sequences, side, L, H, ROWS)
    source = qkv + head * D
    at = place * (3 * H * D)
    q0, q1 = _load(source, at, there, D, FIRST, TAIL)
    k0, k1 = _load(source + H * D, at, there, D, FIRST, TAIL)
    v0, v1 = _load(source + 2 * H * D, at, there, D, FIRST, TAIL)
    turns = _turns(rotation, token, there, D, FIRST, TAIL, ROTATE)
    q0, q1, _, _, _ = _prepare(
        q0, q1, q_weight, turns, D, FIRST, TAIL, NORM, ROTATE, ROTATE_FIRST, EPS
    )
    k0, k1, _, _, _ = _prepare(
        k0, k1, k_weight, turns, D, FIRST, TAIL, NORM, ROTATE, ROTATE_FIRST, EPS
    )
    weights = _weights(q0, q1, k0, k1, member, there, SCALE).to(v0.dtype)
    o0, o1 = _apply(weights, v0, v1)
    _store(out + head * D, place * (H * D), there, o0, o1, D, FIRST, TAIL)


@triton.jit
def backward_kernel(
    grad,
    qkv,
    q_weight,
    k_weight,
    rotation,
    grad_qkv,
    sums,
    sequences,
    side,
    L: tl.constexpr,
    H: tl.constexpr,
    D: tl.constexpr,
    FIRST: tl.constexpr,
    TAIL: tl.constexpr,
    ROWS: tl.constexpr,
    NORM: tl.constexpr,
    ROTATE: tl.constexpr,
    ROTATE_FIRST: tl.constexpr,
    EPS: tl.constexpr,
    SCALE: tl.constexpr,
):
    """One tile: the weights of attention anew, then the gradients of v, q, k and of the norms."""
    head, place, member, token, there = _tile(sequences, side, L, H, ROWS)
    source = qkv + head * D
    target = grad_qkv + head * D
    at = place * (3 * H * D)
    q0, q1 = _load(source, at, there, D, FIRST, TAIL)
    k0, k1 = _load(source + H * D, at, there, D, FIRST, TAIL)
    v0, v1 = _load(source + 2 * H * D, at, there, D, FIRST, TAIL)
    g0, g1 = _load(grad + head * D, place * (H * D), there, D, FIRST, TAIL)
    turns = _turns(rotation, token, there, D, FIRST, TAIL, ROTATE)
    q0, q1, qu0, qu1, q_inverse = _prepare(
        q0, q1, q_weight, turns, D, FIRST, TAIL, NORM, ROTATE, ROTATE_FIRST, EPS
    )
    k0, k1, ku0, ku1, k_inverse = _prepare(
        k0, k1, k_weight, turns, D, FIRST, TAIL, NORM, ROTATE, ROTATE_FIRST, EPS
    )
    weights = _weights(q0, q1, k0, k1, member, there, SCALE)
    slope = _dots(g0, g1, v0, v1)
    slope = weights * (slope - tl.sum(weights * slope, 1)[:, None]) * SCALE
    by_key = tl.trans(weights.to(v0.dtype))
    dv0, dv1 = _apply(by_key, g0, g1)
    _store(target + 2 * H * D, at, there, dv0, dv1, D, FIRST, TAIL)
    slope = slope.to(v0.dtype)
    dq0, dq1 = _apply(slope, k0, k1)
    by_key = tl.trans(slope)
    dk0, dk1 = _apply(by_key, q0, q1)
    share = sums + tl.program_id(0).to(tl.int64) * (2 * D)
    dq0, dq1 = _prepare_backward(
        dq0, dq1, qu0, qu1, q_inverse, q_weight, share, turns,
        D, FIRST, TAIL, NORM, ROTATE, ROTATE_FIRST,
    )  # fmt: skip
    dk0, dk1 = _prepare_backward(
        dk0, dk1, ku0, ku1, k_inverse, k_weight, share + D, turns,
        D, FIRST, TAIL, NORM, ROTATE, ROTATE_FIRST,
    )  # fmt: skip
    _store(target, at, there, dq0, dq1, D, FIRST, TAIL)
    _store(target + H * D, at, there, dk0, dk1, D, FIRST, TAIL)


@triton.jit
def _tile(sequences, side, L: tl.constexpr, H: tl.constexpr, ROWS: tl.constexpr):
    """Head of this program, and of each row its place in memory, sequence and token.

    Heads come first, so that programs which share lines of memory run together.
    """
    head = tl.program_id(0) % H
    row = tl.arange(0, ROWS)
    member = row // L
    token = row % L
    sequence = (tl.program_id(0) // H) * (ROWS // L) + member
    there = (member < ROWS // L) & (sequence < sequences)
    sample = (sequence // side).to(tl.int64)
    place = (sample * L + token) * side + sequence % side
    return head, place, member, token, there


@triton.jit
def _load(source, at, there, D: tl.constexpr, FIRST: tl.constexpr, TAIL: tl.constexpr):
    """Both parts of the rows of a head; what is not there is 0."""
    a = tl.arange(0, FIRST)
    b = FIRST + tl.arange(0, TAIL)
    rows = source + at[:, None]
    first = tl.load(rows + a[None, :], mask=there[:, None], other=0.0)
    tail = tl.load(rows + b[None, :], mask=there[:, None] & (b < D)[None, :], other=0.0)
    return first, tail


@triton.jit
def _store(
    target, at, there, first, tail, D: tl.constexpr, FIRST: tl.constexpr, TAIL: tl.constexpr
):
    a = tl.arange(0, FIRST)
    b = FIRST + tl.arange(0, TAIL)
    rows = target + at[:, None]
    kind = target.dtype.element_ty
    tl.store(rows + a[None, :], first.to(kind), mask=there[:, None])
    tl.store(rows + b[None, :], tail.to(kind), mask=there[:, None] & (b < D)[None, :])


@triton.jit
def _dots(a0, a1, b0, b1):
    """Products of all rows of a with all rows of b, [ROWS, ROWS] float32."""
    first = tl.dot(a0, tl.trans(b0), input_precision="ieee")
    return tl.dot(a1, tl.trans(b1), first, input_precision="ieee")


@triton.jit
def _apply(weights, x0, x1):
    """Weighted sums of the rows of x, float32."""
    first = tl.dot(weights, x0, input_precision="ieee")
    return first, tl.dot(weights, x1, input_precision="ieee")


@triton.jit
def _weights(q0, q1, k0, k1, member, there, SCALE: tl.constexpr):
    """softmax(q k^T * scale) within each sequence, [ROWS, ROWS] float32.

    A row of padding attends to nothing and gets zeros, not the NaN of 0 / 0.
    """
    scores = _dots(q0, q1, k0, k1)
    own = (member[:, None] == member[None, :]) & there[None, :]
    scores = tl.where(own, scores * (SCALE * _LOG2_E), float("-inf"))
    highest = tl.max(scores, 1)
    highest = tl.where(highest == float("-inf"), 0.0, highest)
    weights = tl.exp2(scores - highest[:, None])
    total = tl.sum(weights, 1)
    return weights / tl.where(total == 0.0, 1.0, total)[:, None]


@triton.jit
def _turns(
    rotation, token, there, D: tl.constexpr, FIRST: tl.constexpr, TAIL: tl.constexpr,
    ROTATE: tl.constexpr,
):  # fmt: skip
    """Cosines and sines of both parts, [ROWS, half a part] each."""
    if ROTATE:
        first, tail = _load(rotation, token * D, there, D, FIRST, TAIL)
        c0, s0 = _pairs(first)
        c1, s1 = _pairs(tail)
        return c0, s0, c1, s1
    else:
        return 1.0, 0.0, 1.0, 0.0


@triton.jit
def _pairs(x):
    return tl.split(tl.reshape(x, [x.shape[0], x.shape[1] // 2, 2]))


@triton.jit
def _rotate(x, cosine, sine):
    """Turn the channel pairs (2i, 2i + 1); with -sine, back."""
    a, b = _pairs(x)
    turned = tl.join(a * cosine - b * sine, a * sine + b * cosine)
    return tl.reshape(turned, [x.shape[0], x.shape[1]])


@triton.jit
def _load_weight(weight, D: tl.constexpr, FIRST: tl.constexpr, TAIL: tl.constexpr):
    b = FIRST + tl.arange(0, TAIL)
    first = tl.load(weight + tl.arange(0, FIRST)).to(tl.float32)
    tail = tl.load(weight + b, mask=b < D, other=0.0).to(tl.float32)
    return first[None, :], tail[None, :]


@triton.jit
def _prepare(
    x0, x1, weight, turns,
    D: tl.constexpr, FIRST: tl.constexpr, TAIL: tl.constexpr,
    NORM: tl.constexpr, ROTATE: tl.constexpr, ROTATE_FIRST: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Rotate and normalise, in the order of the weights.

    Returns:
        Both parts of the result, in the type of x, of what the weights multiply, and 1 / RMS.
    """
    kind = x0.dtype
    c0, s0, c1, s1 = turns
    inverse = 1.0
    if NORM or ROTATE:
        x0, x1 = x0.to(tl.float32), x1.to(tl.float32)
    if ROTATE and ROTATE_FIRST:
        x0, x1 = _rotate(x0, c0, s0), _rotate(x1, c1, s1)
    if NORM:
        inverse = tl.rsqrt((tl.sum(x0 * x0, 1) + tl.sum(x1 * x1, 1)) / D + EPS)[:, None]
        x0, x1 = x0 * inverse, x1 * inverse
    unit0, unit1 = x0, x1
    if NORM:
        w0, w1 = _load_weight(weight, D, FIRST, TAIL)
        x0, x1 = x0 * w0, x1 * w1
    if ROTATE and not ROTATE_FIRST:
        x0, x1 = _rotate(x0, c0, s0), _rotate(x1, c1, s1)
    return x0.to(kind), x1.to(kind), unit0, unit1, inverse


@triton.jit
def _prepare_backward(
    g0, g1, unit0, unit1, inverse, weight, share, turns,
    D: tl.constexpr, FIRST: tl.constexpr, TAIL: tl.constexpr,
    NORM: tl.constexpr, ROTATE: tl.constexpr, ROTATE_FIRST: tl.constexpr,
):  # fmt: skip
    """Gradient of `_prepare`; this tile's share in that of the weights goes to `share`."""
    c0, s0, c1, s1 = turns
    if ROTATE and not ROTATE_FIRST:
        g0, g1 = _rotate(g0, c0, -s0), _rotate(g1, c1, -s1)
    if NORM:
        b = FIRST + tl.arange(0, TAIL)
        tl.store(share + tl.arange(0, FIRST), tl.sum(g0 * unit0, 0))
        tl.store(share + b, tl.sum(g1 * unit1, 0), mask=b < D)
        w0, w1 = _load_weight(weight, D, FIRST, TAIL)
        g0, g1 = g0 * w0, g1 * w1
        along = (tl.sum(g0 * unit0, 1) + tl.sum(g1 * unit1, 1)) / D
        g0 = (g0 - unit0 * along[:, None]) * inverse
        g1 = (g1 - unit1 * along[:, None]) * inverse
    if ROTATE and ROTATE_FIRST:
        g0, g1 = _rotate(g0, c0, -s0), _rotate(g1, c1, -s1)
    return g0, g1
