#!/usr/bin/env bash
# TRITON_INTERPRET=1 runs kernels with NumPy, which has no bfloat16; Triton's interpreter holds such
# values as their 16 bits and multiplies those as whole numbers. A product or tl.dot of bfloat16 is off
# by ten orders of magnitude, without an error or a warning, where float16 and float32 are right. A
# test of a kernel on a CPU so fails, or is loosened, for a kernel that is right on a GPU. Values
# turned to float32 behind each tl.load are right in both.
#
# triton 3.6.0 as torch 2.11.0 brings it. Seen, of a product of two 16 by 16 matrices of whole numbers:
#   float32: right
#   float16: right
#   bfloat16: wrong, by more than 1e6 times
#   bfloat16, turned to float32 first: right
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.11.0 triton==3.6.0 numpy
cat >"$folder/product.py" <<'PYTHON'
import torch
import triton
import triton.language as tl


@triton.jit
def product(left, right, out, size: tl.constexpr, widen: tl.constexpr):
    rows, columns = tl.arange(0, size)[:, None], tl.arange(0, size)[None, :]
    a = tl.load(left + rows * size + columns)
    b = tl.load(right + rows * size + columns)
    if widen:
        a, b = a.to(tl.float32), b.to(tl.float32)
    tl.store(out + rows * size + columns, tl.dot(a, b))


for kind, widen in (
    ("float32", False), ("float16", False), ("bfloat16", False), ("bfloat16", True)
):
    torch.manual_seed(0)
    left, right = torch.randint(1, 4, (2, 16, 16)).to(getattr(torch, kind))
    out = torch.empty(16, 16)
    product[(1,)](left, right, out, 16, widen)
    exact = left.float() @ right.float()
    wrong = (out / exact).median() > 1e6
    words = "right" if torch.equal(out, exact) else "wrong" + ", by more than 1e6 times" * bool(wrong)
    print(f"{kind}{', turned to float32 first' if widen else ''}: {words}")
PYTHON
seen=$(TRITON_INTERPRET=1 "$folder/venv/bin/python" "$folder/product.py")
echo "$seen"
[ "$seen" = "float32: right
float16: right
bfloat16: wrong, by more than 1e6 times
bfloat16, turned to float32 first: right" ]
