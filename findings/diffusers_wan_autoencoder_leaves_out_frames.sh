#!/usr/bin/env bash
# AutoencoderKLWan takes a video of any length, encodes its first frame and then groups of four, and
# leaves out what does not fill a group: of 16 frames it encodes 13, and decoding gives 13. No error,
# no warning. Autoencoders of others differ in it: that of HunyuanVideo encodes what is left as well.
# A pipeline that trains on 16 or 48 frames (as image autoencoders and 3D U-Nets want) loses the end
# of each clip, which its caption still tells of. Give 4k + 1 frames.
#
# diffusers 0.42.1, torch 2.11.0. Seen (frames given, latents, frames decoded, whether the last
# frame given changes any latent):
#   AutoencoderKLWan: 13 to 4 to 13, the last frame counts: True
#   AutoencoderKLWan: 14 to 4 to 13, the last frame counts: False
#   AutoencoderKLWan: 16 to 4 to 13, the last frame counts: False
#   AutoencoderKLWan: 17 to 5 to 17, the last frame counts: True
#   AutoencoderKLHunyuanVideo: 16 to 4 to 13, the last frame counts: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 torch==2.11.0
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import torch
from diffusers import AutoencoderKLHunyuanVideo, AutoencoderKLWan

torch.manual_seed(0)
wan = AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
                       latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
hunyuan = AutoencoderKLHunyuanVideo(latent_channels=4, block_out_channels=(8, 8, 8, 8),
                                    layers_per_block=1, norm_num_groups=4)


@torch.no_grad()
def show(vae, count):
    video = torch.randn(1, 3, count, 32, 32)
    latents = vae.encode(video).latent_dist.mode()
    decoded = vae.decode(latents).sample.shape[2]
    video[:, :, -1] += 5
    counts = not torch.equal(latents, vae.encode(video).latent_dist.mode())
    print(f"{type(vae).__name__}: {count} to {latents.shape[2]} to {decoded}, "
          f"the last frame counts: {counts}")


for count in (13, 14, 16, 17):
    show(wan, count)
show(hunyuan, 16)
PYTHON
)
echo "$seen"
[ "$seen" = "AutoencoderKLWan: 13 to 4 to 13, the last frame counts: True
AutoencoderKLWan: 14 to 4 to 13, the last frame counts: False
AutoencoderKLWan: 16 to 4 to 13, the last frame counts: False
AutoencoderKLWan: 17 to 5 to 17, the last frame counts: True
AutoencoderKLHunyuanVideo: 16 to 4 to 13, the last frame counts: True" ]
