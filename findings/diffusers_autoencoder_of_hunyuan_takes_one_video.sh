#!/usr/bin/env bash
# The attention of AutoencoderKLHunyuanVideo15 has queries [B, 1, N, C] and gives its causal mask
# the shape [B, N, N], which torch reads as [1, B, N, N]: one video encodes, several raise, or with
# as many as there are places would mask by video. `use_slicing` takes them one by one.
#
# diffusers 0.42.1, torch 2.11.0. Seen:
#   1 video: encoded
#   2 videos: RuntimeError
#   2 videos, use_slicing: encoded
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 torch==2.11.0
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import torch
from diffusers import AutoencoderKLHunyuanVideo15

vae = AutoencoderKLHunyuanVideo15(
    latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1
)
for count, slicing in ((1, False), (2, False), (2, True)):
    vae.use_slicing = slicing
    name = f"{count} video{'s' if count > 1 else ''}{', use_slicing' if slicing else ''}"
    try:
        with torch.no_grad():
            vae.encode(torch.zeros(count, 3, 5, 32, 32))
        print(f"{name}: encoded")
    except RuntimeError:
        print(f"{name}: RuntimeError")
PYTHON
)
echo "$seen"
[ "$seen" = "1 video: encoded
2 videos: RuntimeError
2 videos, use_slicing: encoded" ]
