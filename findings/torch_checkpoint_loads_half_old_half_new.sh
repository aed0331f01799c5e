#!/usr/bin/env bash
# torch.distributed.checkpoint writes a folder: a file of tensors for each rank and thread, and
# .metadata, which says where each tensor lies. Saving again into the same folder replaces file after
# file, and nothing ties them together. Where the second save ends early, or one of its files is not
# copied, the folder loads without error or warning: some weights are the old, some the new. One would
# expect a load to notice; a folder of its own for each save, and a rename at its end, is the way.
#
# torch 2.11.0, one process, two files; one file of the second save replaces that of the first. Seen:
#   loaded: first weight 2, second weight 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 numpy
cd "$folder"
seen=$("$folder/venv/bin/python" -W ignore - <<'PYTHON'
import shutil
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp


def save(folder, value):
    state = {name: torch.full((4,), value) for name in ("first", "second")}
    writer = dcp.FileSystemWriter(folder, single_file_per_rank=False)
    dcp.save(state, storage_writer=writer, no_dist=True)


save("checkpoint", 1.0)
save("later", 2.0)
files = sorted(path.name for path in Path("checkpoint").glob("*.distcp"))
assert files == ["__0_0.distcp", "__0_1.distcp"], files
shutil.copy(f"later/{files[0]}", f"checkpoint/{files[0]}")
state = {name: torch.zeros(4) for name in ("first", "second")}
dcp.load(state, checkpoint_id="checkpoint", no_dist=True)
words = [f"{name} weight {tensor.unique().item():g}" for name, tensor in state.items()]
print("loaded:", ", ".join(words))
PYTHON
)
echo "$seen"
[ "$seen" = "loaded: first weight 2, second weight 1" ]
