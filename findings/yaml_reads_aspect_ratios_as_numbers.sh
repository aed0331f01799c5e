#!/usr/bin/env bash
# In YAML 1.1, which PyYAML reads, digits with a colon are a number to the base 60: the aspect ratio
# 16:9 of a bucket is 969, 9:16 is 556, as a key too. 2.39:1 and 16:60 beside them stay texts, so a
# list of ratios comes out mixed. OmegaConf brings a resolver of its own against such surprises and
# mends 1e-4, which PyYAML takes for a text, but not this. Only quotes help.
#
# pyyaml 6.0.3, omegaconf 2.3.0. Seen:
#   PyYAML: [16:9, 9:16, 1:1, 2.39:1, 1e-4] is [969, 556, 61, '2.39:1', '1e-4']
#   OmegaConf: [16:9, 9:16, 1:1, 2.39:1, 1e-4] is [969, 556, 61, '2.39:1', 0.0001]
#   PyYAML: {16:9: 848x480} is {969: '848x480'}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyyaml==6.0.3 omegaconf==2.3.0
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import yaml
from omegaconf import OmegaConf

ratios = "[16:9, 9:16, 1:1, 2.39:1, 1e-4]"
sizes = "{16:9: 848x480}"
print(f"PyYAML: {ratios} is {yaml.safe_load(ratios)}")
print(f"OmegaConf: {ratios} is {list(OmegaConf.create(f'ratios: {ratios}').ratios)}")
print(f"PyYAML: {sizes} is {yaml.safe_load(sizes)}")
PYTHON
)
echo "$seen"
[ "$seen" = "PyYAML: [16:9, 9:16, 1:1, 2.39:1, 1e-4] is [969, 556, 61, '2.39:1', '1e-4']
OmegaConf: [16:9, 9:16, 1:1, 2.39:1, 1e-4] is [969, 556, 61, '2.39:1', 0.0001]
PyYAML: {16:9: 848x480} is {969: '848x480'}" ]
