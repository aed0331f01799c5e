"""Tiny random pipelines of diffusers in their official folders, one function a family."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import ByT5Tokenizer, UMT5Config, UMT5EncoderModel

CHANNELS, TEXT_CHANNELS = 4, 16
MEAN, STD = [0.5, -1.0, 0.25, 0.0], [2.0, 0.5, 1.25, 4.0]


def tiny_wan_vae(**fields: Any) -> diffusers.AutoencoderKLWan:
    """4 frames and 8 x 8 pixels a latent value."""
    return diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=MEAN,
        latents_std=STD,
        **fields,
    )


def tiny_wan_transformer(**fields: Any) -> diffusers.WanTransformer3DModel:
    """Two blocks of 24 channels."""
    return diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        **fields,
    )


def wan(
    folder: Path,
    *,
    text_channels: int = TEXT_CHANNELS,
    channels: int = CHANNELS,
    shift: float = 3.0,
    patch_size: tuple[int, int, int] = (1, 2, 2),
    vae_fields: dict[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """A WanPipeline, text to video, with a tokenizer that needs no vocabulary file."""
    torch.manual_seed(0)
    vae = tiny_wan_vae(**(vae_fields or {}))
    transformer = tiny_wan_transformer(
        patch_size=patch_size,
        in_channels=channels,
        out_channels=channels,
        text_dim=text_channels,
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
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
        ),
        **fields,
    )
    pipeline.save_pretrained(folder)
    return folder


def wan_2_2(folder: Path) -> Path:
    """As Wan 2.2 5B: patches of pixels in the autoencoder, a timestep for each token."""
    patches = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}
    patches |= {"scale_factor_spatial": 16, "decoder_base_dim": 4}
    return wan(folder, shift=5.0, vae_fields=patches, expand_timesteps=True)


def wan_2_2_a14b(folder: Path) -> Path:
    """As Wan 2.2 A14B: two transformers, one above a noise of 0.875 and one below."""
    torch.manual_seed(1)
    second = tiny_wan_transformer(
        in_channels=CHANNELS, out_channels=CHANNELS, text_dim=TEXT_CHANNELS
    )
    return wan(folder, transformer_2=second, boundary_ratio=0.875)
