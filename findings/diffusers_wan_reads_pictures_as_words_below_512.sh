#!/usr/bin/env bash
# The attention of diffusers' Wan puts tokens of a picture before those of the text and tells them
# apart by the length alone: all but the last 512 are of the picture, whatever was given. With a
# shorter text, which `max_sequence_length` of WanImageToVideoPipeline allows, most of the picture
# is read as words by the layers of the text, without an error. Pad texts to 512.
#
# Below, what the layers of pictures make of them is 0, so that no picture should change a value.
#
# diffusers 0.42.1, torch 2.11.0. Seen:
#   512 tokens of text: another picture changes nothing
#   300 tokens of text: another picture changes the output
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 torch==2.11.0
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import torch
from diffusers import WanTransformer3DModel

torch.manual_seed(0)
model = WanTransformer3DModel(
    num_attention_heads=2, attention_head_dim=12, in_channels=12, out_channels=4, text_dim=16,
    freq_dim=16, ffn_dim=32, num_layers=1, image_dim=16, added_kv_proj_dim=24,
)
for weights in model.blocks[0].attn2.add_v_proj.parameters():
    torch.nn.init.zeros_(weights)
video, time = torch.randn(1, 12, 2, 4, 4), torch.tensor([500])
pictures = torch.randn(2, 1, 257, 16)
for length in (512, 300):
    text = torch.randn(1, length, 16)
    with torch.no_grad():
        one, other = (model(video, time, text, picture).sample for picture in pictures)
    what = "nothing" if torch.equal(one, other) else "the output"
    print(f"{length} tokens of text: another picture changes {what}")
PYTHON
)
echo "$seen"
[ "$seen" = "512 tokens of text: another picture changes nothing
300 tokens of text: another picture changes the output" ]
