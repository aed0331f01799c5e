"""Folders of an autoencoder and a text encoder with random weights."""

from pathlib import Path
from typing import Any


def save_vae(folder: Path, channels: tuple[int, ...]) -> None:
    """Write an image autoencoder in the layout of Stable Diffusion's.

    Args:
        folder: where to.
        channels: of its levels; each halves the picture but the last.
    """
    from diffusers import AutoencoderKL  # takes seconds

    levels = len(channels)
    network: Any = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=min(32, channels[0]),
    )
    network.save_pretrained(folder)


def save_text_encoder(folder: Path, *, channels: int, layers: int) -> None:
    """Write a T5 that reads bytes.

    Args:
        folder: where to.
        channels: of its embeddings, a multiple of 64.
        layers: of its encoder.
    """
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel  # takes seconds

    sizes: dict[str, Any] = {
        "d_model": channels,
        "d_kv": 64,
        "d_ff": 2 * channels,
        "num_heads": channels // 64,
    }
    T5EncoderModel(T5Config(vocab_size=384, num_layers=layers, **sizes)).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
