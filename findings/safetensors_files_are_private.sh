#!/usr/bin/env bash
# safetensors 0.8 writes a temporary file of its own and renames it, and the file keeps the rights
# of a temporary file: 0600, whatever the umask says. Parquet files of pyarrow and files of
# torch.save beside it follow the umask. So of one run's results on a shared folder a colleague can
# read the tables and not the weights, latents or embeddings, until somebody changes the rights.
#
# safetensors 0.8.0, numpy 2.4.2, umask 022. Seen:
#   safetensors 600, numpy 644
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.2

umask 022
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from safetensors.numpy import save_file

weights = {"layer": np.ones((2, 3), np.float32)}
save_file(weights, "weights.safetensors")
np.savez("weights.npz", **weights)
PYTHON
seen="safetensors $(stat -c %a weights.safetensors), numpy $(stat -c %a weights.npz)"
echo "$seen"
[ "$seen" = "safetensors 600, numpy 644" ]
