"""Tiny random pipelines of diffusers in their official folders, one function a family."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import (
    ByT5Tokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
)

CHANNELS, TEXT_CHANNELS = 4, 16
PICTURE_CHANNELS, PICTURE_TOKENS = 16, 5  # of a CLIP that divides 28 pixels into 14
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
        **{"text_dim": TEXT_CHANNELS, "in_channels": CHANNELS, "out_channels": CHANNELS, **fields},
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


def wan_pictures(
    folder: Path, *, last: bool = False, reads_pictures: bool = True, two: bool = False
) -> Path:
    """As Wan 2.1 from a first frame, or from a first and a last one; or 2.2 A14B, without CLIP."""
    parts = wan(folder.with_name(f"{folder.name}-text"), shift=5.0 if last else 3.0)
    pipeline = diffusers.WanPipeline.from_pretrained(parts)
    torch.manual_seed(0)
    clip = CLIPVisionConfig(
        hidden_size=PICTURE_CHANNELS,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    reads = {"image_dim": PICTURE_CHANNELS, "added_kv_proj_dim": 24}  # 2 heads of 12
    if last:
        reads["pos_embed_seq_len"] = 2 * PICTURE_TOKENS
    fields = {"in_channels": 2 * CHANNELS + 4, **(reads if reads_pictures else {})}
    transformer = tiny_wan_transformer(**fields)
    second = tiny_wan_transformer(**fields) if two else None
    if last:  # diffusers makes it of zeros, which would hide a wrong order of the pictures
        torch.nn.init.normal_(transformer.condition_embedder.image_embedder.pos_embed)
    diffusers.WanImageToVideoPipeline(
        **{**pipeline.components, "transformer": transformer, "transformer_2": second},
        boundary_ratio=0.9 if two else None,
        image_encoder=CLIPVisionModel(clip) if reads_pictures else None,
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        )
        if reads_pictures
        else None,
    ).save_pretrained(folder)
    return folder
