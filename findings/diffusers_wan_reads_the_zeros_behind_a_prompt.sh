#!/usr/bin/env bash
# WanTransformer3DModel reads the zeros behind a prompt: its forward takes no mask of words, an
# embedded zero is a key like any other, and so the number to which texts are padded changes what it
# predicts. The number is no weight and stands in no config: WanPipeline pads to its argument
# max_sequence_length, 512. Weights trained on captions that were padded to another length (64, 120
# and 226 are usual with T5) load there without a word and follow prompts badly; a small Wan that
# had learnt captions of 64 tokens followed 97 % of its prompts padded to 64 and 11 % padded to 512.
# LTX-Video, with the same T5, takes a mask, and there the length does not matter. Keep the length
# with the weights and give it to the pipeline.
#
# diffusers 0.42.1, torch 2.11.0. Seen, on random weights (the predictions differ by some 2 and 5 %):
#   20 words padded to 512: another prediction: False
#   20 words padded to 64: another prediction: True
#   20 words padded to 20: another prediction: True
#   WanTransformer3DModel takes a mask of words: False
#   LTXVideoTransformer3DModel takes a mask of words: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 torch==2.11.0
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import inspect
import torch
from diffusers import LTXVideoTransformer3DModel, WanTransformer3DModel

torch.manual_seed(0)
wan = WanTransformer3DModel(num_attention_heads=2, attention_head_dim=12, in_channels=4,
                            out_channels=4, text_dim=16, freq_dim=16, ffn_dim=64, num_layers=2)
latents, words = torch.randn(1, 4, 2, 8, 8), torch.randn(1, 20, 16)


@torch.no_grad()
def velocity(length):
    text = torch.nn.functional.pad(words, (0, 0, 0, length - words.shape[1]))
    return wan(latents, torch.tensor([500.0]), text, return_dict=False)[0]


whole = velocity(512)
for length in (512, 64, 20):
    change = (velocity(length) - whole).norm() / whole.norm()
    print(f"20 words padded to {length}: another prediction: {bool(change > 0.005)}")
for network in (WanTransformer3DModel, LTXVideoTransformer3DModel):
    names = inspect.signature(network.forward).parameters
    print(f"{network.__name__} takes a mask of words: {'encoder_attention_mask' in names}")
PYTHON
)
echo "$seen"
[ "$seen" = "20 words padded to 512: another prediction: False
20 words padded to 64: another prediction: True
20 words padded to 20: another prediction: True
WanTransformer3DModel takes a mask of words: False
LTXVideoTransformer3DModel takes a mask of words: True" ]
