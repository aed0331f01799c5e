"""The transformers once more, slow and plain: one sample at a time, one head at a time, float64.

Nothing here comes from `opensora`; only the names of the weights are shared. T frames of S tokens,
D channels, L text tokens.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def norm(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-6)


def mlp(w: Weights, name: str, x: Tensor) -> Tensor:
    h = linear(w, f"{name}.fc1", x)
    h = h / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return linear(w, f"{name}.fc2", h)


def embed_number(w: Weights, name: str, value: float) -> Tensor:
    width = w[f"{name}.mlp.0.weight"].shape[1]
    half = width // 2
    angles = [value * 10000 ** (-i / half) for i in range(half)]
    features = [math.cos(a) for a in angles] + [math.sin(a) for a in angles] + [0.0] * (width % 2)
    h = linear(w, f"{name}.mlp.0", torch.tensor(features, dtype=torch.float64))
    return linear(w, f"{name}.mlp.2", silu(h))


def sincos(position: float, dim: int) -> list[float]:
    angles = [position * 10000 ** (-2 * i / dim) for i in range(dim // 2)]
    return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]


def space_table(rows: int, columns: int, dim: int, scale: float, base: int | None) -> Tensor:
    stretch = (1.0, 1.0) if base is None else (base / rows, base / columns)
    table = [
        sincos(c / scale * stretch[1], dim // 2) + sincos(r / scale * stretch[0], dim // 2)
        for r in range(rows)
        for c in range(columns)
    ]
    return torch.tensor(table, dtype=torch.float64)


def time_table(frames: int, dim: int, scale: float) -> Tensor:
    return torch.tensor([sincos(f / scale, dim) for f in range(frames)], dtype=torch.float64)


def turn(x: Tensor) -> Tensor:
    """Rotary positions on x [L, d]: the pair (2i, 2i + 1) turns by position * 10000^(-2i / d)."""
    out = x.clone()
    d = x.shape[1]
    for position in range(len(x)):
        for i in range(d // 2):
            angle = position * 10000 ** (-2 * i / d)
            a, b = x[position, 2 * i], x[position, 2 * i + 1]
            out[position, 2 * i] = a * math.cos(angle) - b * math.sin(angle)
            out[position, 2 * i + 1] = a * math.sin(angle) + b * math.cos(angle)
    return out


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6) * weight


def soft_average(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.T / math.sqrt(q.shape[1]), -1) @ v


def self_attention(
    w: Weights, name: str, x: Tensor, heads: int, *, rope: bool = False, legacy: bool = True
) -> Tensor:
    """Attention within x [L, D]; normalises q and k where there are weights for it."""
    q, k, v = (part.chunk(heads, -1) for part in linear(w, f"{name}.qkv", x).chunk(3, -1))
    normed = f"{name}.q_norm.weight" in w
    out = []
    for head in range(heads):
        pair = [q[head], k[head]]
        if rope and (legacy or not normed):
            pair = [turn(part) for part in pair]
        if normed:
            pair = [
                rms(pair[0], w[f"{name}.q_norm.weight"]),
                rms(pair[1], w[f"{name}.k_norm.weight"]),
            ]
        if rope and normed and not legacy:
            pair = [turn(part) for part in pair]
        out.append(soft_average(*pair, v[head]))
    return linear(w, f"{name}.proj", torch.cat(out, -1))


def cross_attention(w: Weights, name: str, x: Tensor, text: Tensor, heads: int) -> Tensor:
    q = linear(w, f"{name}.q_linear", x).chunk(heads, -1)
    k, v = (part.chunk(heads, -1) for part in linear(w, f"{name}.kv_linear", text).chunk(2, -1))
    out = [soft_average(q[head], k[head], v[head]) for head in range(heads)]
    return linear(w, f"{name}.proj", torch.cat(out, -1))


def patches(w: Weights, x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """Tokens [T, S, D] of one latent video [C, T, H, W]."""
    pads = [-length % size for length, size in zip(x.shape[1:], patch, strict=True)]
    x = F.pad(x, (0, pads[2], 0, pads[1], 0, pads[0]))
    weight, bias = w["x_embedder.proj.weight"], w["x_embedder.proj.bias"]
    out = F.conv3d(x[None], weight, bias, stride=patch)[0]  # [D, T, H, W]
    return out.flatten(2).permute(1, 2, 0)


def picture(tokens: Tensor, size: tuple[int, int, int], patch: tuple[int, int, int]) -> Tensor:
    """Latent video [C, T, H, W] of tokens [T, S, pt * ph * pw * C]."""
    grid = [-(-length // p) for length, p in zip(size, patch, strict=True)]
    channels = tokens.shape[-1] // math.prod(patch)
    out = torch.zeros(channels, *(g * p for g, p in zip(grid, patch, strict=True))).double()
    for t in range(grid[0]):
        for r in range(grid[1]):
            for c in range(grid[2]):
                values = tokens[t, r * grid[2] + c].view(*patch, channels).permute(3, 0, 1, 2)
                where = [slice(i * p, (i + 1) * p) for i, p in zip((t, r, c), patch, strict=True)]
                out[:, where[0], where[1], where[2]] = values
    return out[:, : size[0], : size[1], : size[2]]


def token_frames(x_mask: Tensor | None, grid_t: int, patch_t: int) -> list[bool]:
    """Which token frames are noised; one of several frames is clean when all of them are."""
    if x_mask is None:
        return [True] * grid_t
    return [bool(x_mask[t * patch_t : (t + 1) * patch_t].any()) for t in range(grid_t)]


def final_layer(w: Weights, x: Tensor, t: Tensor, t_clean: Tensor, noised: list[bool]) -> Tensor:
    """x [T, S, D]; a clean frame is modulated twice."""
    frames = []
    for frame, is_noised in zip(x, noised, strict=True):
        for time in [t] if is_noised else [t, t_clean]:
            shift, scale = w["final_layer.scale_shift_table"] + time
            frame = norm(frame) * (1 + scale) + shift
        frames.append(linear(w, "final_layer.linear", frame))
    return torch.stack(frames)


def stdit(w: Weights, cfg: dict, x: Tensor, t: float, y: Tensor, x_mask: Tensor | None) -> Tensor:
    """STDiT of one sample: x [C, T, H, W], y [L, channels] without padding."""
    heads, patch = cfg["num_heads"], cfg["patch_size"]
    h = patches(w, x, patch)
    T, S, D = h.shape
    rows = -(-x.shape[2] // patch[1])
    h = h + space_table(rows, S // rows, D, cfg.get("space_scale", 1.0), None)
    text = mlp(w, "y_embedder.y_proj", y)
    real, zero = embed_number(w, "t_embedder", t), embed_number(w, "t_embedder", 0)
    times = [linear(w, "t_block.1", silu(v)).view(6, D) for v in (real, zero)]
    noised = token_frames(x_mask, T, patch[0])
    for index in range(cfg["depth"]):
        name = f"blocks.{index}"
        table = w[f"{name}.scale_shift_table"]
        mods = [table + times[0 if live else 1] for live in noised]  # of each frame, [6, D]
        h = torch.stack(
            [
                frame
                + m[2] * self_attention(w, f"{name}.attn", norm(frame) * (1 + m[1]) + m[0], heads)
                for frame, m in zip(h, mods, strict=True)
            ]
        )
        places = h
        if index == 0 and not cfg.get("no_temporal_pos_emb"):
            places = h + time_table(T, D, cfg.get("time_scale", 1.0))[:, None]
        moved = [self_attention(w, f"{name}.attn_temp", places[:, s], heads) for s in range(S)]
        h = h + (table + times[0])[2] * torch.stack(moved, 1)  # the real gate on clean frames too
        h = feed_forward(w, name, h, text, mods, heads)
    return picture(final_layer(w, h, real, zero, noised), tuple(x.shape[1:]), patch)


def feed_forward(
    w: Weights, name: str, h: Tensor, text: Tensor, mods: list[Tensor], heads: int
) -> Tensor:
    """Cross attention and MLP of one block; h [T, S, D], mods of each frame [6, D]."""
    h = h + torch.stack([cross_attention(w, f"{name}.cross_attn", f, text, heads) for f in h])
    return torch.stack(
        [
            f + m[5] * mlp(w, f"{name}.mlp", norm(f) * (1 + m[4]) + m[3])
            for f, m in zip(h, mods, strict=True)
        ]
    )


def stdit2(
    w: Weights,
    cfg: dict,
    x: Tensor,
    t: float,
    y: Tensor,
    x_mask: Tensor | None,
    sizes: dict[str, float],
    side: float,
) -> Tensor:
    """STDiT2 of one sample; `side` is the root of height times width of the batch's first."""
    heads, patch, legacy = cfg["num_heads"], cfg["patch_size"], cfg.get("qk_norm_legacy", True)
    h = patches(w, x, patch)
    T, S, D = h.shape
    rows = -(-x.shape[2] // patch[1])
    h = h + space_table(
        rows, S // rows, D, side / cfg.get("input_sq_size", 32), round(math.sqrt(S))
    )
    text = mlp(w, "y_embedder.y_proj", y)
    size = torch.cat(
        [
            embed_number(w, "csize_embedder", sizes["height"]),
            embed_number(w, "csize_embedder", sizes["width"]),
            embed_number(w, "ar_embedder", sizes["ar"]),
        ]
    )
    length = embed_number(w, "fl_embedder", sizes["num_frames"])
    length = length + embed_number(w, "fps_embedder", sizes["fps"])
    real, zero = embed_number(w, "t_embedder", t), embed_number(w, "t_embedder", 0)
    space = [linear(w, "t_block.1", silu(v + size)).view(6, D) for v in (real, zero)]
    time = [linear(w, "t_block_temp.1", silu(v + length)).view(3, D) for v in (real, zero)]
    noised = token_frames(x_mask, T, patch[0])
    for index in range(cfg["depth"]):
        name = f"blocks.{index}"
        mods = [w[f"{name}.scale_shift_table"] + space[0 if live else 1] for live in noised]
        tmods = torch.stack(
            [w[f"{name}.scale_shift_table_temporal"] + time[0 if live else 1] for live in noised]
        )  # [T, 3, D]
        h = torch.stack(
            [
                f + m[2] * self_attention(w, f"{name}.attn", norm(f) * (1 + m[1]) + m[0], heads)
                for f, m in zip(h, mods, strict=True)
            ]
        )
        moved = []
        for s in range(S):
            place = norm(h[:, s]) * (1 + tmods[:, 1]) + tmods[:, 0]
            place = self_attention(w, f"{name}.attn_temp", place, heads, rope=True, legacy=legacy)
            moved.append(tmods[:, 2] * place)
        h = feed_forward(w, name, h + torch.stack(moved, 1), text, mods, heads)
    # the final layer sees the size on clean frames only
    return picture(final_layer(w, h, real, zero + size, noised), tuple(x.shape[1:]), patch)


def stdit3(
    w: Weights,
    cfg: dict,
    x: Tensor,
    t: float,
    y: Tensor,
    x_mask: Tensor | None,
    sizes: dict[str, float],
    side: float,
) -> Tensor:
    """STDiT3 of one sample; `side` is the root of height times width of the batch's first."""
    heads, patch, legacy = cfg["num_heads"], cfg["patch_size"], cfg.get("qk_norm_legacy", False)
    h = patches(w, x, patch)
    T, S, D = h.shape
    rows = -(-x.shape[2] // patch[1])
    h = h + space_table(
        rows, S // rows, D, side / cfg.get("input_sq_size", 512), round(math.sqrt(S))
    )
    text = mlp(w, "y_embedder.y_proj", y)
    rate = embed_number(w, "fps_embedder", sizes["fps"])
    real, zero = (embed_number(w, "t_embedder", value) + rate for value in (t, 0))
    times = [linear(w, "t_block.1", silu(v)).view(6, D) for v in (real, zero)]
    noised = token_frames(x_mask, T, patch[0])
    for index in range(cfg["depth"]):
        for kind in ("spatial", "temporal"):
            name = f"{kind}_blocks.{index}"
            mods = [w[f"{name}.scale_shift_table"] + times[0 if live else 1] for live in noised]
            m = torch.stack(mods)[:, :, None]  # [T, 6, 1, D]
            inner = norm(h) * (1 + m[:, 1]) + m[:, 0]
            if kind == "spatial":
                moved = [self_attention(w, f"{name}.attn", f, heads) for f in inner]
                h = h + m[:, 2] * torch.stack(moved)
            else:
                moved = [
                    self_attention(w, f"{name}.attn", inner[:, s], heads, rope=True, legacy=legacy)
                    for s in range(S)
                ]
                h = h + m[:, 2] * torch.stack(moved, 1)
            h = feed_forward(w, name, h, text, mods, heads)
    return picture(final_layer(w, h, real, zero, noised), tuple(x.shape[1:]), patch)


def pixart(
    w: Weights, cfg: dict, x: Tensor, t: float, y: Tensor, sizes: dict[str, float] | None
) -> Tensor:
    """PixArt of one sample, PixArtMS where it takes its size."""
    heads, patch = cfg["num_heads"], cfg["patch_size"]
    h = patches(w, x, patch)
    T, S, D = h.shape
    rows = -(-x.shape[2] // patch[1])
    h = h + space_table(rows, S // rows, D, cfg.get("space_scale", 1.0), int(math.sqrt(S)))
    if not cfg.get("no_temporal_pos_emb"):
        h = h + time_table(T, D, cfg.get("time_scale", 1.0))[:, None]
    text = mlp(w, "y_embedder.y_proj", y)
    time = embed_number(w, "t_embedder", t)
    if sizes is not None:
        parts = [("csize_embedder", "height"), ("csize_embedder", "width"), ("ar_embedder", "ar")]
        time = time + torch.cat([embed_number(w, name, sizes[key]) for name, key in parts])
    modulation = linear(w, "t_block.1", silu(time)).view(6, D)
    for index in range(cfg["depth"]):
        name = f"blocks.{index}"
        m = w[f"{name}.scale_shift_table"] + modulation
        inner = (norm(h) * (1 + m[1]) + m[0]).view(T * S, D)
        h = h + m[2] * self_attention(w, f"{name}.attn", inner, heads).view(T, S, D)
        h = feed_forward(w, name, h, text, [m] * T, heads)
    return picture(final_layer(w, h, time, time, [True] * T), tuple(x.shape[1:]), patch)


def dit(w: Weights, cfg: dict, x: Tensor, t: float, y: Tensor, *, latte: bool) -> Tensor:
    """DiT or Latte of one sample; y [1, channels] pooled text or a class number."""
    heads, patch = cfg["num_heads"], cfg["patch_size"]
    h = patches(w, x, patch)
    T, S, D = h.shape
    rows = -(-x.shape[2] // patch[1])
    h = h + space_table(rows, S // rows, D, 1.0, None)
    frames = time_table(T, D, 1.0)[:, None] * (not cfg.get("no_temporal_pos_emb"))
    if y.ndim:
        condition = mlp(w, "y_embedder.y_proj", y)[0]
    else:
        condition = w["y_embedder.embedding_table.weight"][int(y)]
    condition = silu(condition + embed_number(w, "t_embedder", t))
    if not latte:
        h = (h + frames).view(1, T * S, D)
    for index in range(cfg["depth"]):
        name = f"blocks.{index}"
        across = latte and index % 2 == 1
        if across:
            h = (h + frames * (index == 1)).transpose(0, 1)
        m = linear(w, f"{name}.adaLN_modulation.1", condition).chunk(6)
        inner = norm(h) * (1 + m[1]) + m[0]
        h = h + m[2] * torch.stack([self_attention(w, f"{name}.attn", g, heads) for g in inner])
        h = h + m[5] * mlp(w, f"{name}.mlp", norm(h) * (1 + m[4]) + m[3])
        if across:
            h = h.transpose(0, 1)
    shift, scale = linear(w, "final_layer.adaLN_modulation.1", condition).chunk(2)
    out = linear(w, "final_layer.linear", norm(h.reshape(T, S, D)) * (1 + scale) + shift)
    return picture(out, tuple(x.shape[1:]), patch)


def batch(cls: str, w: Weights, cfg: dict, inputs: dict[str, Tensor]) -> Tensor:
    """Output of a model of class `cls` for a batch: rows of shorter inputs repeat."""
    w = {name: value.double() for name, value in w.items()}
    cfg = {"patch_size": (1, 2, 2), **cfg}
    x, t, y = inputs["x"].double(), inputs["timestep"], inputs["y"]
    outs = []
    for b in range(len(x)):
        row = {k: v[b % len(v)] for k, v in inputs.items() if k not in ("x", "timestep", "y")}
        sizes = {k: float(v) for k, v in row.items() if k not in ("mask", "x_mask")}
        if cls in ("DiT", "Latte"):
            pooled = y[b] if y.ndim == 1 else y[b, 0].double()
            outs.append(dit(w, cfg, x[b], float(t[b]), pooled, latte=cls == "Latte"))
            continue
        text = y[b, 0].double()
        if "mask" in row:
            text = text[row["mask"] != 0]
        arguments = (w, cfg, x[b], float(t[b]), text)
        if cls.startswith("PixArt"):
            outs.append(pixart(*arguments, sizes if cls == "PixArtMS" else None))
        elif cls == "STDiT":
            outs.append(stdit(*arguments, row.get("x_mask")))
        else:
            side = math.sqrt(float(inputs["height"][0]) * float(inputs["width"][0]))
            model = stdit2 if cls == "STDiT2" else stdit3
            outs.append(model(*arguments, row.get("x_mask"), sizes, side))
    return torch.stack(outs)
