#!/usr/bin/env bash
# `latents` of LTX2Pipeline are "pre-generated noisy latents", and it says that only those of five
# axes are supported. But these it takes for latents of its autoencoder and normalises by channel:
# noise with mean 0 and deviation 1 is then none. Packed latents [B, tokens, C], which it says it
# refuses, are taken as they are. LTXPipeline leaves both alone.
#
# diffusers 0.42.1, torch 2.11.0. Seen, with mean 1 and deviation 2 of all channels:
#   LTX2Pipeline, five axes: mean -0.50, deviation 0.50
#   LTX2Pipeline, packed: mean -0.00, deviation 1.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  diffusers==0.42.1 torch==2.11.0 transformers==5.23.0
seen=$("$folder/venv/bin/python" - <<'PYTHON'
from types import SimpleNamespace

import torch
from diffusers import LTX2Pipeline

statistics = SimpleNamespace(
    latents_mean=torch.ones(128), latents_std=2 * torch.ones(128),
    config=SimpleNamespace(scaling_factor=1.0),
)
pipeline = SimpleNamespace(vae=statistics)
pipeline.transformer_spatial_patch_size = pipeline.transformer_temporal_patch_size = 1
for name in ("_normalize_latents", "_pack_latents", "_create_noised_state"):
    setattr(pipeline, name, getattr(LTX2Pipeline, name))
noise = torch.randn(1, 128, 8, 16, 16, generator=torch.Generator().manual_seed(0))
given = {"five axes": noise, "packed": LTX2Pipeline._pack_latents(noise)}
for name, latents in given.items():
    used = LTX2Pipeline.prepare_latents(pipeline, latents=latents)
    print(f"LTX2Pipeline, {name}: mean {used.mean():.2f}, deviation {used.std():.2f}")
PYTHON
)
echo "$seen"
[ "$seen" = "LTX2Pipeline, five axes: mean -0.50, deviation 0.50
LTX2Pipeline, packed: mean -0.00, deviation 1.00" ]
