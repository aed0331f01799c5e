"""Fixtures that several folders of unit tests share."""

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from opensora.core.io import sha256_file
from opensora.media.encode import write_video
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table

CLIP_FRAMES = 4
REFERENCE = Path(__file__).parents[1] / "data" / "reference"


@pytest.fixture(scope="session")
def reference() -> Any:
    """Read a JSON file of the reference's numbers by name."""

    def read(name: str) -> Any:
        return json.loads((REFERENCE / f"{name}.json").read_text())

    return read


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    return REFERENCE


@pytest.fixture(scope="session")
def video_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of four 24 x 24 frames and two single frames, a manifest, a VAE, a T5 and a CLIP.

    The networks are tiny and have random weights. No clip needs resizing or offers a choice of
    frames, so reading them ahead of training or during it gives the same pixels.
    """
    import torch
    from diffusers import AutoencoderKL
    from transformers import (
        ByT5Tokenizer,
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTokenizer,
        T5Config,
        T5EncoderModel,
    )

    folder = tmp_path_factory.mktemp("video_world")
    rows = []
    for k in range(6):
        texture = np.random.default_rng(k).integers(0, 256, (24, 24 + CLIP_FRAMES, 3), np.uint8)
        count = CLIP_FRAMES if k < 4 else 1
        path = folder / f"clip{k}.mp4"
        write_video(path, np.stack([texture[:, t : t + 24] for t in range(count)]), 8, crf=10)
        row = {"id": f"clip{k}", "path": str(path), "text": f"box {k % 3} moves"}
        rows.append({**row, "num_frames": count, "sha256": sha256_file(path)})
    manifest = pd.DataFrame(rows).assign(
        width=24, height=24, aspect_ratio=1.0, resolution=576, text_len=3, fps=8.0, source="s",
        start=0.0, end=0.5, split="train",
    )  # fmt: skip
    write_table(manifest, folder / "manifest.csv", MANIFEST)
    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=24,
    ).save_pretrained(folder / "vae")
    config = T5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder / "t5")
    ByT5Tokenizer().save_pretrained(folder / "t5")
    (folder / "clip").mkdir()
    letters = string.ascii_lowercase + string.digits
    ends = [f"{letter}</w>" for letter in letters]
    words = {
        word: k for k, word in enumerate([*letters, *ends, "<|startoftext|>", "<|endoftext|>"])
    }
    (folder / "clip/vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "clip/merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(folder / "clip").save_pretrained(folder / "clip")
    text = CLIPTextConfig(
        **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "max_position_embeddings": 16, "vocab_size": len(words)},
        **{"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1},
    )
    CLIPTextModel(text).save_pretrained(folder / "clip")
    return folder
