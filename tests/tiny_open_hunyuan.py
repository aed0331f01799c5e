"""A tiny random HunyuanVideo 1.5 in the official folders."""

from pathlib import Path

import diffusers
import torch
from diffusers.guiders import ClassifierFreeGuidance
from transformers import ByT5Tokenizer, Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

from tests.tiny_open import CHANNELS, TEXT_CHANNELS
from tests.tiny_open_ltx import tiny_t5

FACTOR = 1.5
INSTRUCTION = 108  # tokens of it, which the pipeline drops


def hunyuan(folder: Path) -> Path:
    """A HunyuanVideo15Pipeline of text: 4 frames and 16 x 16 pixels a latent value."""
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLHunyuanVideo15(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8, 8),
        layers_per_block=1,
        scaling_factor=FACTOR,
    )
    transformer = diffusers.HunyuanVideo15Transformer3DModel(
        in_channels=2 * CHANNELS + 1,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_refiner_layers=1,
        text_embed_dim=TEXT_CHANNELS,
        text_embed_2_dim=TEXT_CHANNELS,
        image_embed_dim=8,
        rope_axes_dim=(4, 4, 4),
        task_type="t2v",
    )
    config = Qwen2_5_VLTextConfig(
        vocab_size=384,
        hidden_size=TEXT_CHANNELS,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        rope_scaling={"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        bos_token_id=None,
        eos_token_id=None,
    )
    tokenizer = ByT5Tokenizer()
    tokenizer.chat_template = f"{'x' * INSTRUCTION}{{{{ messages[-1]['content'] }}}}"
    pipeline = diffusers.HunyuanVideo15Pipeline(
        text_encoder=Qwen2_5_VLTextModel(config),
        tokenizer=tokenizer,
        transformer=transformer,
        vae=vae,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder_2=tiny_t5(),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
    )
    pipeline.save_pretrained(folder)
    return folder
