#!/usr/bin/env bash
# T5 and UMT5 overflow in float16, so transformers keeps the last product of each feed-forward layer
# in float32, but only while it loads weights as float16. `.half()`, `.to(torch.float16)` and the `.to()`
# of a pipeline around it convert that layer as well, even where loading had spared it: sums beyond
# 65,504 are infinite, which the next line clamps, and the embeddings of the same weights in the same
# type are others. No error, no warning. bfloat16 has the range and needs none of it.
#
# transformers 5.23.0, torch 2.11.0. Seen, of a layer whose sums are 81,920 (type of its last weight):
#   T5 from_pretrained(dtype=float16): float32 81920.0
#   T5 from_pretrained(dtype=float16).to(float16): float16 inf
#   T5 from_pretrained().half(): float16 inf
#   UMT5 from_pretrained(dtype=float16): float32 81920.0
#   UMT5 from_pretrained(dtype=float16).to(float16): float16 inf
#   UMT5 from_pretrained().half(): float16 inf
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 torch==2.11.0 numpy
seen=$("$folder/venv/bin/python" - "$folder/encoder" 2>"$folder/log" <<'PYTHON'
import sys

import torch
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

where = sys.argv[1]
sizes = {"vocab_size": 32, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}


def layer(model):
    return model.encoder.block[0].layer[-1].DenseReluDense


for config, kind in ((T5Config, T5EncoderModel), (UMT5Config, UMT5EncoderModel)):
    model = kind(config(**sizes, feed_forward_proj="gated-gelu"))
    for part, value in (("wi_0", 1.0), ("wi_1", 1.0), ("wo", 10.0)):
        torch.nn.init.constant_(getattr(layer(model), part).weight, value)
    model.save_pretrained(where)
    name = kind.__name__.removesuffix("EncoderModel")
    for words, loaded in (
        ("(dtype=float16)", kind.from_pretrained(where, dtype=torch.float16)),
        ("(dtype=float16).to(float16)",
         kind.from_pretrained(where, dtype=torch.float16).to(torch.float16)),
        ("().half()", kind.from_pretrained(where).half()),
    ):
        with torch.no_grad():
            total = layer(loaded.eval())(torch.ones(1, 1, 16, dtype=torch.float16)).max().item()
        dtype = str(layer(loaded).wo.weight.dtype).removeprefix("torch.")
        print(f"{name} from_pretrained{words}: {dtype} {total}")
PYTHON
) || { cat "$folder/log"; exit 1; }
echo "$seen"
[ "$seen" = "T5 from_pretrained(dtype=float16): float32 81920.0
T5 from_pretrained(dtype=float16).to(float16): float16 inf
T5 from_pretrained().half(): float16 inf
UMT5 from_pretrained(dtype=float16): float32 81920.0
UMT5 from_pretrained(dtype=float16).to(float16): float16 inf
UMT5 from_pretrained().half(): float16 inf" ]
