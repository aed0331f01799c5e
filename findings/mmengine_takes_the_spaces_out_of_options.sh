#!/usr/bin/env bash
# MMEngine's DictAction, which reads --cfg-options name=value, takes every space out of a value before
# it looks at it, quoted or not: a prompt comes out as one word, which the tokenizer reads as other
# tokens, and a path with a space as another path. A comma makes a list of it. Then int() and float()
# are tried, which take more than they seem to: a run named by its time (20260101_120000) becomes a
# number without the underscore, a shard 007 becomes 7. No error, no warning. What is text belongs
# into the config file.
#
# mmengine 0.10.7. Seen:
#   prompt=a red cat: 'aredcat'
#   prompt=a cat, running: ['acat', 'running']
#   run=20260101_120000: 20260101120000
#   shard=007: 7
#   name=infinity: inf
#   ema=none: 'none'
#   ema=None: None
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mmengine-lite==0.10.7 packaging
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import argparse

from mmengine.config import DictAction

parser = argparse.ArgumentParser()
parser.add_argument("--cfg-options", nargs="+", action=DictAction)
for option in (
    "prompt=a red cat", "prompt=a cat, running", "run=20260101_120000", "shard=007",
    "name=infinity", "ema=none", "ema=None",
):
    (value,) = parser.parse_args(["--cfg-options", option]).cfg_options.values()
    print(f"{option}: {value!r}")
PYTHON
)
echo "$seen"
[ "$seen" = "prompt=a red cat: 'aredcat'
prompt=a cat, running: ['acat', 'running']
run=20260101_120000: 20260101120000
shard=007: 7
name=infinity: inf
ema=none: 'none'
ema=None: None" ]
