"""Small valid inputs, made on the fly, and what is done to them; equal seeds give equal inputs."""

import json
import random
import struct
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, features
from safetensors.torch import save_file

from .files import write

VIDEOS = (
    *(("a.mp4", "libx264", "yuv420p"), ("b.mkv", "ffv1", "bgr0"), ("c.avi", "mpeg4", "yuv420p")),
    *(("d.mov", "libx264", "yuv422p10le"), ("e.mkv", "libvpx-vp9", "yuv420p")),
)
EXPRESSIONS = (
    "flow > 0.5 or kind == 'image'",
    "0.1 < flow <= 0.9 and not aes < 5",
    "n * 2 + big - -1 >= 4 / n",
    "kind not in ['video', 'gif'] and n in (-1, 2, 3.5)",
    "not (flow + aes) / 2 > n * n * n",
)
CONFIG = """model = {'type': 'STDiT2', 'depth': 2, 'sizes': (1, 2, 2), 'x': None}
bucket_config = {'144p': {1: (1.0, 8), 16: ((0.5, 0.3), 2)}}
lr = 1e-05
encoders = {'vae': {'name': 'a', 'scale': [0.1, -2.5]}, 'text_encoder': {}}
outputs = 'results/x'
"""
OBJECT = {"text": "a red circle moves left", "start": 0.5, "end": "0:00:02.5", "more": [1, {}]}
# what readers of text stumble over
TOKENS = (
    *("(", ")", "[", "]", "{", "}", ",", ":", "=", "'", '"', "\\", "\n", "\r", "\t", "\0", "#"),
    *("not ", " and ", " or ", " in ", "-", "+", "*", "/", "%", "**", "<", "==", "1e999", "-1"),
    *("nan", "inf", "null", "true", "0", "9" * 30, "9" * 5000, "0x", "1j", "''", "b'a'", "..."),
    *("\u202e", "\ufeff", "\ud800", "ünï", "視頻", "x" * 300, "((((" * 60, "[" * 300, "__import__"),
    *("lambda: 0", "open('x')", "flow", "kind", "n", "big", "dict(a=1)", "{**a}", "f'{x}'", "]}"),
    *('"dtype":', '"F64"', '"data_offsets":[0,1]', "__metadata__", "18446744073709551615"),
)
_NUMBERS = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\x7f")
_EDGE = 600  # bytes at both ends, where containers keep what decides most


def write_seeds(folder: Path) -> None:
    """Write the valid files of all kinds, each kind in a folder of its own."""
    writers: dict[str, Callable[[Path], None]] = {
        **{"videos": _videos, "images": _images, "tables": _tables, "weights": _weights}
    }
    for name, writer in writers.items():
        (folder / name).mkdir(parents=True)
        writer(folder / name)


@cache
def seeds(folder: Path) -> tuple[tuple[str, bytes], ...]:
    """Suffix and content of the valid files in a folder."""
    return tuple((path.suffix, path.read_bytes()) for path in sorted(folder.iterdir()))


def chance(seed: int, kind: str, number: int) -> random.Random:
    """The source of all choices about one input."""
    return random.Random(f"{seed}/{kind}/{number}")


def mutated_bytes(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Change a few places: bits, numbers, spans cut, doubled or exchanged, an end cut off."""
    content = bytearray(data)
    for _ in range(draw.choice((0, 1, 1, 2, 4, 16))):
        if not content:
            break
        at = _place(len(content), draw)
        match draw.randrange(8):
            case 0 | 1:
                content[at] ^= 1 << draw.randrange(8)
            case 2:
                content[at] = draw.randrange(256)
            case 3:
                content[at : at + 4] = draw.choice(_NUMBERS)
            case 4:
                del content[at : at + draw.choice((1, 4, 64, 1024))]
            case 5:
                content[at:at] = content[at : at + draw.choice((1, 8, 128))]
            case 6:
                del content[draw.randrange(len(content)) :]
            case 7:
                other = draw.choice(list(others) or [data])
                content[at : at + 64] = other[at : at + 64]
    return bytes(content)


def mutated_text(text: str, draw: random.Random) -> str:
    """Put tokens in, take spans out, double or move them."""
    for _ in range(draw.choice((0, 1, 1, 2, 3, 8))):
        at, end = sorted((draw.randrange(len(text) + 1), draw.randrange(len(text) + 1)))
        end = min(end, at + draw.choice((1, 3, 20)))
        match draw.randrange(6):
            case 0 | 1 | 2:
                text = text[:at] + draw.choice(TOKENS) * draw.choice((1, 1, 1, 2, 100)) + text[at:]
            case 3:
                text = text[:at] + text[end:]
            case 4:
                text = text[:end] + text[at:]
            case 5:
                text = text[:at] + text[end:] + text[at:end]
        text = text[:200_000]
    return text


def mutated_head(data: bytes, draw: random.Random) -> bytes:
    """Change the JSON at the head of a safetensors file and keep its length right."""
    length = struct.unpack("<Q", data[:8])[0]
    head = mutated_text(data[8 : 8 + length].decode(), draw).encode("utf-8", "replace")
    return struct.pack("<Q", len(head)) + head + data[8 + length :]


def _place(length: int, draw: random.Random) -> int:
    if draw.random() < 0.6 and length > 2 * _EDGE:
        at = draw.randrange(2 * _EDGE)
        return at if at < _EDGE else length - 2 * _EDGE + at
    return draw.randrange(length)


def _videos(folder: Path) -> None:
    for seed, (name, codec, pixels) in enumerate(VIDEOS):
        write(folder / name, seed, codec=codec, pixels=pixels, num_frames=8)
    _animation(folder / "f.gif")
    _animation(folder / "g.webp")


def _animation(path: Path) -> None:
    frames = [Image.new("RGB", (24, 16), (40 * k, 0, 90)) for k in range(5)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80)


def _images(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)
    picture = Image.fromarray(noise, "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6  # upright is a quarter turn further
    for name in ("a.jpg", "b.bmp", "c.webp", "d.png"):
        picture.convert("RGB").save(folder / name, exif=exif)
    picture.save(folder / "e.png")
    picture.convert("P").save(folder / "f.png")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "g.png")
    if features.check("avif"):
        picture.save(folder / "h.avif")


def _tables(folder: Path) -> None:
    rows = [
        {"id": f"c{k}", "path": f"{k}.mp4", "text": f"a {k} ünï", "num_frames": 16 + k}
        | {"height": 64, "width": 48 + k, "fps": 8.0, "split": "train", "flow": k / 3}
        | {"start": 0.0, "end": 2.0, "status": "ok", "sha256": "0f" * 32}
        for k in range(4)
    ]
    table = pd.DataFrame(rows)
    table.to_csv(folder / "a.csv", index=False)
    table.to_json(folder / "b.jsonl", orient="records", lines=True)
    table.to_json(folder / "c.json", orient="records")
    table.to_parquet(folder / "d.parquet")
    panda = {"videoID": ["a"], "timestamp": ['[["0:00:01", "0:00:02"]]'], "caption": ['["a b"]']}
    pd.DataFrame(panda).to_csv(folder / "e.csv", index=False)


def _weights(folder: Path) -> None:
    tensors = {"module.a": torch.arange(6.0).view(2, 3), "module.b": torch.ones(2).half()}
    save_file(tensors, folder / "a.safetensors", {"format": "pt"})
    torch.save({"model": tensors, "step": 3}, folder / "b.pt")
    torch.save({"ema": tensors}, folder / "c.pth", _use_new_zipfile_serialization=False)
    index = {"metadata": {}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    (folder / "d.index.json").write_text(json.dumps(index))
