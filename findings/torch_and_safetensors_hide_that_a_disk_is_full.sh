#!/usr/bin/env bash
# A write of weights that meets the end of the disk (here a limit on the size of files, the same
# path through the libraries) raises no OSError and has no errno: torch.save gives a RuntimeError
# about an unexpected position in its zip file, safetensors an error class of its own. Code that
# catches OSError to say "free some space", or retries on ENOSPC, passes by the largest files of a
# training run. Plain Python gives OSError with errno.
#
# torch 2.11.0, safetensors 0.8.0. Seen:
#   open().write: OSError, errno EFBIG
#   torch.save: RuntimeError, no errno, says "unexpected pos": True
#   safetensors: SafetensorError, no errno
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.11.0 safetensors==0.8.0 numpy
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import errno
import resource
import signal
from pathlib import Path

import torch
from safetensors.torch import save_file

tensors = {"weight": torch.zeros(100_000)}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
said = {}
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
for name, write in {
    "open().write": lambda path: path.write_bytes(bytes(400_000)),
    "torch.save": lambda path: torch.save(tensors, path),
    "safetensors": lambda path: save_file(tensors, path),
}.items():
    try:
        write(Path("weights"))
    except Exception as error:
        said[name] = error
resource.setrlimit(resource.RLIMIT_FSIZE, before)
for name, error in said.items():
    number = getattr(error, "errno", None)
    words = f"errno {errno.errorcode[number]}" if number else "no errno"
    if name == "torch.save":
        words += f', says "unexpected pos": {"unexpected pos" in str(error)}'
    print(f"{name}: {type(error).__name__}, {words}")
PYTHON
)
echo "$seen"
[ "$seen" = "open().write: OSError, errno EFBIG
torch.save: RuntimeError, no errno, says \"unexpected pos\": True
safetensors: SafetensorError, no errno" ]
