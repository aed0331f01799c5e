#!/usr/bin/env bash
# TRITON_INTERPRET=1 runs Triton kernels without a GPU, torch.library.triton_op lets torch.compile
# see into them: the two do not meet. A kernel that is annotated with triton.jit, and runs under the
# interpreter by itself, is refused inside a triton_op as "not annotated with triton.jit": the
# interpreter makes another class of it. An operator that is to be tested on a CPU has to be a
# torch.library.custom_op, which hides the kernel from the compiler, or call another wrapper there.
#
# torch 2.11.0, triton 3.6.0. Seen:
#   by itself: [1.0, 2.0, 3.0, 4.0, 5.0]
#   custom_op: [1.0, 2.0, 3.0, 4.0, 5.0]
#   triton_op: RuntimeError wrap_triton only works on functions annotated with triton.jit or triton.autotune
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 triton==3.6.0 numpy

cd "$folder"
# a file: the interpreter reads the source of the kernel
cat > run.py <<'PYTHON'
import torch
import triton
import triton.language as tl
from torch.library import custom_op, triton_op, wrap_triton


@triton.jit
def add_one(x, y, length, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < length
    tl.store(y + at, tl.load(x + at, inside) + 1, inside)


def launch(kernel, x):
    y = torch.empty_like(x)
    kernel[(1,)](x, y, x.numel(), BLOCK=8)
    return y


@custom_op("finding::hidden", mutates_args=())
def hidden(x: torch.Tensor) -> torch.Tensor:
    return launch(add_one, x)


@triton_op("finding::seen", mutates_args={})
def seen(x: torch.Tensor) -> torch.Tensor:
    return launch(wrap_triton(add_one), x)


x = torch.arange(5.0)
print("by itself:", launch(add_one, x).tolist())
print("custom_op:", hidden(x).tolist())
try:
    print("triton_op:", seen(x).tolist())
except RuntimeError as error:
    print("triton_op:", type(error).__name__, error)
PYTHON
seen=$(TRITON_INTERPRET=1 venv/bin/python run.py 2>/dev/null)
echo "$seen"
[ "$seen" = "by itself: [1.0, 2.0, 3.0, 4.0, 5.0]
custom_op: [1.0, 2.0, 3.0, 4.0, 5.0]
triton_op: RuntimeError wrap_triton only works on functions annotated with triton.jit or triton.autotune" ]
