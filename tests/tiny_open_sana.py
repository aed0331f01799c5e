"""A tiny random SANA-Video in the official folders."""

from pathlib import Path

import diffusers
import torch
from transformers import ByT5Tokenizer, Gemma2Config, Gemma2Model

from tests.tiny_open import CHANNELS, TEXT_CHANNELS, tiny_wan_vae


def sana(folder: Path) -> Path:
    """A SanaVideoPipeline of 480p, on Wan's autoencoder."""
    torch.manual_seed(0)
    transformer = diffusers.SanaVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=TEXT_CHANNELS,
    )
    config = Gemma2Config(
        vocab_size=384,
        hidden_size=TEXT_CHANNELS,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    pipeline = diffusers.SanaVideoPipeline(
        tokenizer=ByT5Tokenizer(),
        text_encoder=Gemma2Model(config),
        vae=tiny_wan_vae(),
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0
        ),
    )
    pipeline.save_pretrained(folder)
    return folder
