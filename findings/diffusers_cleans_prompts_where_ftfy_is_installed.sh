#!/usr/bin/env bash
# The pipelines of Wan (and others) clean a prompt before it is encoded, but only where the package
# ftfy happens to be installed, which diffusers does not ask for. Without it curly quotes, full-width
# letters and ligatures, which language models and other captioners write, go to the tokenizer as
# they are. No error, no warning: embeddings that one machine stored and another's samples of the
# same prompts are those of different tokens.
#
# diffusers 0.42.1, ftfy 6.3.1, torch 2.11.0, transformers 5.23.0. Seen (code points where not ASCII):
#   without: the cat\u2019s toy | without: \uff34\uff36 | without: o\ufb03ce
#   with: the cat's toy | with: TV | with: office
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    diffusers==0.42.1 torch==2.11.0 transformers==5.23.0
cat >"$folder/clean.py" <<'PYTHON'
import sys

from diffusers.pipelines.wan.pipeline_wan import prompt_clean

prompts = "the cat\u2019s toy", "\uff34\uff36", "o\ufb03ce"
cleaned = (ascii(prompt_clean(prompt)).strip("'\"") for prompt in prompts)
print(" | ".join(f"{sys.argv[1]}: {prompt}" for prompt in cleaned))
PYTHON
without=$("$folder/venv/bin/python" "$folder/clean.py" without)
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ftfy==6.3.1
seen="$without
$("$folder/venv/bin/python" "$folder/clean.py" with)"
echo "$seen"
[ "$seen" = 'without: the cat\u2019s toy | without: \uff34\uff36 | without: o\ufb03ce
'"with: the cat's toy | with: TV | with: office" ]
