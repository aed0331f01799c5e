"""Tiny random pipelines of diffusers in their official folders, one function a family."""

from pathlib import Path

import diffusers
import torch
from transformers import ByT5Tokenizer, UMT5Config, UMT5EncoderModel

CHANNELS, TEXT_CHANNELS = 4, 16
MEAN, STD = [0.5, -1.0, 0.25, 0.0], [2.0, 0.5, 1.25, 4.0]


def wan(folder: Path, *, text_channels: int = TEXT_CHANNELS, channels: int = CHANNELS) -> Path:
    """A WanPipeline, text to video, with a tokenizer that needs no vocabulary file."""
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=MEAN,
        latents_std=STD,
    )
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=channels,
        out_channels=channels,
        text_dim=text_channels,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
    )
    config = UMT5Config(
        vocab_size=384, d_model=TEXT_CHANNELS, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    pipeline = diffusers.WanPipeline(
        tokenizer=ByT5Tokenizer(),
        text_encoder=UMT5EncoderModel(config),
        transformer=transformer,
        vae=vae,
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )
    pipeline.save_pretrained(folder)
    return folder
