"""Tiny random LTX-2 and LTX-2.3 in the official folders."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from transformers import (
    ByT5Tokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    SiglipVisionConfig,
)

from tests.tiny_open import CHANNELS, MEAN, STD, TEXT_CHANNELS
from tests.tiny_open_ltx import ltx_scheduler

REGISTERS, LAYERS, WIDTH, SOUND = 16, 2, 24, 12  # of the connector, of Gemma, of both branches


def ltx2(folder: Path) -> Path:
    """An LTX2Pipeline: 8 frames and 32 x 32 pixels a latent value."""
    connectors = _connectors(
        caption_channels=TEXT_CHANNELS,
        video_connector_attention_head_dim=8,
        audio_connector_attention_head_dim=8,
    )
    return _save(folder, connectors, caption_channels=TEXT_CHANNELS)


def ltx2_3(folder: Path) -> Path:
    """As LTX-2.3: gates, texts modulated by time and projected by the connectors."""
    connectors = _connectors(
        caption_channels=TEXT_CHANNELS,
        video_connector_attention_head_dim=WIDTH // 2,
        audio_connector_attention_head_dim=SOUND // 2,
        per_modality_projections=True,
        video_hidden_dim=WIDTH,
        audio_hidden_dim=SOUND,
        video_gated_attn=True,
        audio_gated_attn=True,
        proj_bias=True,
        rope_type="split",
    )
    return _save(
        folder,
        connectors,
        caption_channels=TEXT_CHANNELS,
        use_prompt_embeddings=False,
        gated_attn=True,
        cross_attn_mod=True,
        audio_gated_attn=True,
        audio_cross_attn_mod=True,
        perturbed_attn=True,
        rope_type="split",
    )


def _connectors(**fields: Any) -> LTX2TextConnectors:
    torch.manual_seed(0)
    return LTX2TextConnectors(
        text_proj_in_factor=LAYERS + 1,
        video_connector_num_attention_heads=2,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=REGISTERS,
        audio_connector_num_attention_heads=2,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=REGISTERS,
        **fields,
    )


def _save(folder: Path, connectors: LTX2TextConnectors, **fields: Any) -> Path:
    vae = diffusers.AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_spatial_padding_mode="zeros",  # reflecting takes two latent values a side
        spatial_compression_ratio=32,  # as the released folders say
        temporal_compression_ratio=8,
    )
    vae.latents_mean.copy_(torch.tensor(MEAN))
    vae.latents_std.copy_(torch.tensor(STD))
    sound = diffusers.AutoencoderKLLTX2Audio(
        base_channels=4, num_res_blocks=1, latent_channels=2, ch_mult=(1, 2, 4), mel_bins=8
    )
    transformer = diffusers.LTX2VideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=WIDTH // 2,
        cross_attention_dim=WIDTH,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=SOUND // 2,
        audio_cross_attention_dim=SOUND,
        num_layers=2,
        **fields,
    )
    text = Gemma3TextConfig(
        vocab_size=384,
        hidden_size=TEXT_CHANNELS,
        intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    eyes = SiglipVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    gemma = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=eyes, mm_tokens_per_image=4)
    )
    pipeline = diffusers.LTX2Pipeline(
        scheduler=ltx_scheduler(),
        vae=vae,
        audio_vae=sound,
        text_encoder=gemma,
        tokenizer=ByT5Tokenizer(),
        connectors=connectors,
        transformer=transformer,
        vocoder=LTX2Vocoder(
            in_channels=16,
            hidden_channels=16,
            upsample_kernel_sizes=[4],
            upsample_factors=[2],
            resnet_kernel_sizes=[3],
            resnet_dilations=[[1]],
        ),
    )
    pipeline.save_pretrained(folder)
    return folder
