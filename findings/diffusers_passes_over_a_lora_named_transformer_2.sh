#!/usr/bin/env bash
# Wan 2.2 A14B has two transformers, and adapters of the second one are loaded with
# `load_into_transformer_2=True`. Their names in the file begin with "transformer." nonetheless: where
# they begin with "transformer_2.", as the folder is called, nothing is loaded, by a warning that this
# "is safe to ignore".
#
# diffusers 0.42.1, peft 0.21.2, transformers 5.14.1, torch 2.11.0. Seen:
#   transformer. plain: transformer
#   transformer. load_into_transformer_2: transformer_2
#   transformer_2. plain: none
#   transformer_2. load_into_transformer_2: none
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  diffusers==0.42.1 peft==0.21.2 torch==2.11.0 transformers==5.14.1
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from transformers import ByT5Tokenizer, UMT5Config, UMT5EncoderModel

PARTS = "transformer", "transformer_2"


def network():
    return WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4,
        text_dim=16, freq_dim=16, ffn_dim=32, num_layers=1,
    )


def pipeline():
    vae = AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
                           latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    text = UMT5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return WanPipeline(
        tokenizer=ByT5Tokenizer(), text_encoder=UMT5EncoderModel(text), transformer=network(),
        transformer_2=network(), boundary_ratio=0.875, vae=vae,
        scheduler=UniPCMultistepScheduler(),
    )


for prefix in ("transformer.", "transformer_2."):
    for options in ({}, {"load_into_transformer_2": True}):
        name = f"{prefix}blocks.0.attn1.to_q"
        adapters = {f"{name}.lora_A.weight": torch.ones(2, 24)}
        adapters[f"{name}.lora_B.weight"] = torch.ones(24, 2)
        pipe = pipeline()
        pipe.load_lora_weights(adapters, **options)
        got = [part for part in PARTS if getattr(getattr(pipe, part), "peft_config", None)]
        print(f"{prefix} {next(iter(options), 'plain')}: {' '.join(got) or 'none'}")
PYTHON
)
echo "$seen"
[ "$seen" = "transformer. plain: transformer
transformer. load_into_transformer_2: transformer_2
transformer_2. plain: none
transformer_2. load_into_transformer_2: none" ]
