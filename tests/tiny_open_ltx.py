"""A tiny random LTX-Video in the official folders."""

from pathlib import Path

import diffusers
import torch
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from tests.tiny_open import CHANNELS, MEAN, STD, TEXT_CHANNELS


def tiny_t5() -> T5EncoderModel:
    """A T5 of bytes."""
    return T5EncoderModel(
        T5Config(vocab_size=384, d_model=TEXT_CHANNELS, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    )


def ltx_scheduler() -> diffusers.FlowMatchEulerDiscreteScheduler:
    """That of both LTX: a shift that grows with the number of tokens."""
    return diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )


def ltx(folder: Path) -> Path:
    """An LTXPipeline: 8 frames and 32 x 32 pixels a latent value, a shift that grows with them."""
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=CHANNELS,
        block_out_channels=(4, 4, 4, 4),
        decoder_block_out_channels=(4, 4, 4, 4),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
    )
    vae.latents_mean.copy_(torch.tensor(MEAN))
    vae.latents_std.copy_(torch.tensor(STD))
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=2,
        caption_channels=TEXT_CHANNELS,
    )
    pipeline = diffusers.LTXPipeline(
        scheduler=ltx_scheduler(),
        vae=vae,
        text_encoder=tiny_t5(),
        tokenizer=ByT5Tokenizer(),
        transformer=transformer,
    )
    pipeline.save_pretrained(folder)
    return folder
