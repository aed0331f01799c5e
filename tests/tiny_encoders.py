"""Encoders of a few thousand random weights, in the folders that real ones come in."""

import json
import string
from pathlib import Path

import torch

TEXT_LENGTH = 16  # tokens that the CLIP reads


def save_vae(folder: Path) -> Path:
    """An image autoencoder that makes one latent value of 4 x 4 pixels."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=24,
    ).save_pretrained(folder)
    return folder


def save_t5(folder: Path) -> Path:
    """A T5 of 16 channels that reads bytes."""
    from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

    torch.manual_seed(0)
    config = T5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    return folder


def save_clip(folder: Path) -> Path:
    """The text half of a CLIP of 16 channels that reads letters and digits."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    letters = string.ascii_lowercase + string.digits
    words = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    config = CLIPTextConfig(
        **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "max_position_embeddings": TEXT_LENGTH},
        **{
            "vocab_size": len(words),
            "bos_token_id": len(words) - 2,
            "eos_token_id": len(words) - 1,
        },
    )
    CLIPTextModel(config).save_pretrained(folder)
    return folder
