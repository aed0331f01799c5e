#!/usr/bin/env bash
# A T5 folder with spiece.model and no tokenizer.json (DeepFloyd/t5-v1_1-xxl, google/t5-v1_1-*) needs
# the package sentencepiece. Where it is not installed, the error of transformers names another one:
# "`tiktoken` is required to read a `tiktoken` file". Installing tiktoken does not help: the file is
# then refused as no tiktoken file. The true reason stands in a warning of the logger alone. The same
# error comes with sentencepiece installed where spiece.model is a pointer of Git LFS or cut off.
#
# transformers 5.23.0, sentencepiece 0.2.3, protobuf 7.36.2. Seen:
#   without: ValueError `tiktoken` is required to read a `tiktoken` file. Install it with `pip install tiktoken`.
#   with: T5Tokenizer, as sentencepiece: True
#   a pointer: ValueError `tiktoken` is required to read a `tiktoken` file. Install it with `pip install tiktoken`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 tokenizers==0.23.3 protobuf==7.36.2
# beside the environment, so that it can be left out
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    --target "$folder/pieces" sentencepiece==0.2.3

cd "$folder"
cat > make.py <<'PYTHON'
import json
from pathlib import Path

from sentencepiece import SentencePieceTrainer

words = ["a red square moves", "two blue circles", "a forest in the fog"] * 5
for name in ("t5", "pointer"):
    Path(name).mkdir()
    Path(name, "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
    Path(name, "config.json").write_text(json.dumps({"model_type": "t5"}))
SentencePieceTrainer.train(
    sentence_iterator=iter(words), model_prefix="t5/spiece", vocab_size=60, hard_vocab_limit=False,
    minloglevel=2, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
)
Path("pointer/spiece.model").write_text("version https://git-lfs.github.com/spec/v1\n")
PYTHON
cat > read.py <<'PYTHON'
import sys

from transformers import AutoTokenizer

try:
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
else:
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file="t5/spiece.model")
    texts = ("a red circle", "Two forests, in fog")
    same = all(tokenizer(text)["input_ids"] == [*pieces.encode(text), 1] for text in texts)
    print(f"{type(tokenizer).__name__}, as sentencepiece: {same}")
PYTHON
PYTHONPATH="$folder/pieces" venv/bin/python make.py
seen="without: $(venv/bin/python read.py t5 2>/dev/null)
with: $(PYTHONPATH="$folder/pieces" venv/bin/python read.py t5 2>/dev/null)
a pointer: $(PYTHONPATH="$folder/pieces" venv/bin/python read.py pointer 2>/dev/null)"
echo "$seen"
tiktoken="ValueError \`tiktoken\` is required to read a \`tiktoken\` file. Install it with \`pip install tiktoken\`."
[ "$seen" = "without: $tiktoken
with: T5Tokenizer, as sentencepiece: True
a pointer: $tiktoken" ]
