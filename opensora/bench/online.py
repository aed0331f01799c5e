"""Clips a second of online training on a folder of images: decode, VAE, text encoder, step.

Each side is the command `opensora train` of a checkout, in a process of its own, on the same files;
the two take turns. The networks have random weights: how fast they are does not depend on them.
"""

import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.bench.checkout import HERE, run_in
from opensora.bench.measure import machine
from opensora.core.io import sha256_file
from opensora.core.seed import derive_seed
from opensora.core.terminal import align
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table

_SIDE = 256  # pixels
_FEWEST_TOKENS, _MOST_TOKENS = 8, 40  # of a caption; people write 10 to 30 words to a picture
_MAX_LENGTH = 200  # tokens: that of Open-Sora 1.1
_HEAD = 64  # channels of a head of T5
_VAE_CHANNELS = (8, 8, 8, 8)
_CONFIG = """
bucket_config = {{"{side}": {{1: (1.0, {batch_size})}}}}
epochs = 1
model = dict(type="STDiT2", patch_size=(1, 2, 2), hidden_size=24, depth=1, num_heads=2,
             qk_norm=True, pred_sigma=False)
scheduler = dict(type="rflow")
text_encoder = dict(type="t5", from_pretrained="{folder}/t5", model_max_length={length})
vae = dict(type="VideoAutoencoderKL", from_pretrained="{folder}/vae")
dataset = dict(type="VariableVideoTextDataset", data_path="{folder}/manifest.csv")
dtype = "fp32"
num_workers = 2
log_every = {steps}
"""


def bench_online(
    *, clips: int, batch_size: int, width: int, depth: int, rounds: int, against: Path | None
) -> tuple[str, str]:
    """Train on a folder of images, here and in another checkout.

    Args:
        clips: images, each with a caption of its own.
        batch_size: of them a step.
        width: channels of the text encoder; as many heads as 64 go into it.
        depth: its blocks.
        rounds: runs of each; the median counts.
        against: the other checkout; None measures this one alone.

    Returns:
        A table and one line.

    Raises:
        OpenSoraError: a run fails.
    """
    sides = {"here": HERE} | ({} if against is None else {"there": against})
    rates: dict[str, list[float]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory(prefix="opensora-bench-") as name:
        folder = Path(name)
        _make_world(folder, clips, width, depth)
        steps = clips // batch_size
        fields = {"side": _SIDE, "batch_size": batch_size, "length": _MAX_LENGTH, "steps": steps}
        (folder / "config.py").write_text(_CONFIG.format(folder=folder, **fields))
        for turn in range(rounds):
            for side, checkout in sides.items():
                seconds = _train(checkout, folder, folder / f"{side}{turn}")
                rates[side].append(steps * batch_size / seconds)
    rows = [
        (str(sides[side]), f"{statistics.median(found):.2f}", f"{min(found):.2f}-{max(found):.2f}")
        for side, found in rates.items()
    ]
    table = align(["checkout", "clips/s", "of all rounds"], rows)
    about = (
        f"{clips} images of {_SIDE}x{_SIDE} with captions of {_FEWEST_TOKENS} to {_MOST_TOKENS}"
        f" tokens, T5 of {depth} blocks and {width} channels, model_max_length {_MAX_LENGTH}"
        f" ({machine()})"
    )
    here = statistics.median(rates["here"])
    if "there" not in rates:
        return table, f"{here:.2f} clips a second online: {about}"
    ratio = here / statistics.median(rates["there"])
    return table, f"{here:.2f} clips a second online, {ratio:.1f} times the other's: {about}"


def _train(checkout: Path, folder: Path, outputs: Path) -> float:
    """Seconds of the steps of a run, its start apart, as the run itself counts them."""
    run_in(checkout, ["train", str(folder / "config.py"), "--outputs", str(outputs)])
    last = (outputs / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return float(json.loads(last)["seconds"])


def _make_world(folder: Path, clips: int, width: int, depth: int) -> None:
    """Write images, manifest and the two encoders."""
    rng = random.Random(derive_seed("bench", "online"))
    rows = []
    for number in range(clips):
        path = folder / f"image{number:05d}.png"
        _write_image(path, rng)
        size = rng.randint(_FEWEST_TOKENS, _MOST_TOKENS) - 1  # bytes are tokens; one ends the text
        text = f"{number:05d} {''.join(rng.choices('abcdefgh', k=size))}"[:size]
        facts = {"id": path.stem, "path": str(path), "text": text, "text_len": len(text)}
        rows.append({**facts, "sha256": sha256_file(path)})
    shape = {"width": _SIDE, "height": _SIDE, "resolution": _SIDE**2, "aspect_ratio": 1.0}
    rest = {"num_frames": 1, "fps": 0.0, "source": "bench", "start": 0.0, "end": 0.0}
    manifest = pd.DataFrame([{**row, **shape, **rest, "split": "train"} for row in rows])
    write_table(manifest, folder / "manifest.csv", MANIFEST)
    _save_encoders(folder, width, depth)


def _write_image(path: Path, rng: random.Random) -> None:
    from PIL import Image

    Image.frombytes("RGB", (_SIDE, _SIDE), rng.randbytes(3 * _SIDE**2)).save(path)


def _save_encoders(folder: Path, width: int, depth: int) -> None:
    """A T5 that reads bytes, and a VAE of few channels."""
    import torch
    from diffusers import AutoencoderKL
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    torch.manual_seed(derive_seed("bench", "weights"))
    config = T5Config(
        vocab_size=384,
        d_model=width,
        num_heads=width // _HEAD,
        d_kv=_HEAD,
        d_ff=8 * width // 3,
        num_layers=depth,
        feed_forward_proj="gated-gelu",
    )
    T5EncoderModel(config).save_pretrained(folder / "t5")
    ByT5Tokenizer().save_pretrained(folder / "t5")
    blocks = len(_VAE_CHANNELS)
    vae: Any = AutoencoderKL(
        block_out_channels=_VAE_CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=4,
        norm_num_groups=_VAE_CHANNELS[0] // 2,
        sample_size=_SIDE,
    )
    vae.save_pretrained(folder / "vae")
