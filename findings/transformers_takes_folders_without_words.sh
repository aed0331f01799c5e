#!/usr/bin/env bash
# A text encoder's folder whose vocabulary was not copied (tokenizer_config.json alone) loads in
# transformers 5 without an error or a warning. The tokenizer knows its special tokens and nothing
# else: T5 and BERT read every word as the unknown one, CLIP every letter, GPT-2, Llama and Qwen
# read nothing at all. Two captions of one number of words are then the same caption.
#
# transformers 5.23.0, tokenizers 0.23.3. Seen:
#   T5Tokenizer [3, 2, 3, 2, 1] [3, 2, 3, 2, 1]
#   CLIPTokenizer [0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2] [0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
#   BertTokenizer [2, 1, 1, 3] [2, 1, 1, 3]
#   GPT2Tokenizer [] []
#   LlamaTokenizer [] []
#   Qwen2Tokenizer [] []
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 tokenizers==0.23.3

cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/log"
import json
from pathlib import Path

from transformers import AutoTokenizer

MODELS = {
    "T5Tokenizer": "t5",
    "CLIPTokenizer": "clip",
    "BertTokenizer": "bert",
    "GPT2Tokenizer": "gpt2",
    "LlamaTokenizer": "llama",
    "Qwen2Tokenizer": "qwen2",
}
for name, model in MODELS.items():
    place = Path(name)
    place.mkdir()
    (place / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    (place / "config.json").write_text(json.dumps({"model_type": model}))
    tokenizer = AutoTokenizer.from_pretrained(place)
    print(name, *(tokenizer(text)["input_ids"] for text in ("red circle", "blue square")))
PYTHON
) || { cat "$folder/log"; exit 1; }
echo "$seen"
[ "$seen" = "T5Tokenizer [3, 2, 3, 2, 1] [3, 2, 3, 2, 1]
CLIPTokenizer [0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2] [0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
BertTokenizer [2, 1, 1, 3] [2, 1, 1, 3]
GPT2Tokenizer [] []
LlamaTokenizer [] []
Qwen2Tokenizer [] []" ]
