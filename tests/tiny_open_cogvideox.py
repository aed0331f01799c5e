"""Tiny random CogVideoX pipelines in the official folders."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import ByT5Tokenizer

from tests.tiny_open import CHANNELS, TEXT_CHANNELS
from tests.tiny_open_ltx import tiny_t5

LENGTH, FACTOR = 32, 0.7


def cogvideox_2b(folder: Path, **fields: Any) -> Path:
    """A CogVideoXPipeline, whose tokens have sines of their places added."""
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        latent_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=FACTOR,
    )
    shift = 1.0 if fields else 3.0
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        time_embed_dim=8,
        text_embed_dim=TEXT_CHANNELS,
        num_layers=2,
        sample_width=8,
        sample_height=6,
        sample_frames=9,
        max_text_seq_length=LENGTH,
        **fields,
    )
    pipeline = diffusers.CogVideoXPipeline(
        tokenizer=ByT5Tokenizer(),
        text_encoder=tiny_t5(),
        vae=vae,
        transformer=transformer,
        scheduler=(diffusers.CogVideoXDPMScheduler if fields else diffusers.CogVideoXDDIMScheduler)(
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            snr_shift_scale=shift,
            timestep_spacing="trailing",
            clip_sample=False,
        ),
    )
    pipeline.save_pretrained(folder)
    return folder


def cogvideox_5b(folder: Path) -> Path:
    """As 5B: rotary places, another shift, sampled by DPM."""
    return cogvideox_2b(folder, use_rotary_positional_embeddings=True)
