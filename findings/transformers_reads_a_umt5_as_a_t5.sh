#!/usr/bin/env bash
# T5EncoderModel.from_pretrained takes the folder of a UMT5, as Wan and others ship their text
# encoder, and returns a network that runs. In a UMT5 every layer has a table of relative positions
# of its own, in a T5 the first one's serves all: the tables of the other layers are left out, which
# a warning lists as unexpected. Nothing is missing, so nothing is raised, and what comes out are
# other embeddings of the right shape.
#
# transformers 5.23.0, torch 2.11.0. Seen:
#   T5EncoderModel of a UMT5: loads, tables left out: 3 of 4
#   relative difference of the embeddings: above 0.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 \
    transformers==5.23.0 numpy
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import torch
from transformers import T5EncoderModel, UMT5Config, UMT5EncoderModel

torch.manual_seed(0)
config = UMT5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=4, num_heads=4)
right = UMT5EncoderModel(config).eval()
for name, weight in right.named_parameters():
    if "relative_attention_bias" in name:
        torch.nn.init.normal_(weight)  # as large as those of trained weights
right.save_pretrained("umt5")
wrong, info = T5EncoderModel.from_pretrained("umt5", output_loading_info=True)
left_out = [name for name in info["unexpected_keys"] if "relative_attention_bias" in name]
print(f"T5EncoderModel of a UMT5: loads, tables left out: {len(left_out)} of 4")
assert len(left_out) == 3 and not info["missing_keys"]
ids = torch.randint(64, (2, 16))
with torch.no_grad():
    a, b = (network.eval()(input_ids=ids).last_hidden_state for network in (right, wrong))
difference = ((a - b).norm() / a.norm()).item()
print("relative difference of the embeddings:", "above 0.1" if difference > 0.1 else difference)
assert difference > 0.1
PYTHON
