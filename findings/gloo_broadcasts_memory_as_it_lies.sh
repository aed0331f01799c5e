#!/usr/bin/env bash
# torch.distributed's gloo sends a tensor's memory in the order in which it lies, and strides are not
# sent with it. A transposed weight (tied layers, weights read from another framework) arrives with
# its numbers at other places; shape, type and sum are right. No error, no warning. One would expect
# every rank to have the tensor of the first after a broadcast: .contiguous() before it is needed.
#
# torch 2.11.0, gloo, CPU, two processes. Seen on the second, which made an empty tensor of that shape:
#   the tensor of the first:      [[0, 3], [1, 4], [2, 5]]
#   broadcast as it is:           [[0, 1], [2, 3], [4, 5]]
#   broadcast after contiguous(): [[0, 3], [1, 4], [2, 5]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 numpy
cat >"$folder/ranks.py" <<'PYTHON'
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
weight = torch.arange(6).reshape(2, 3).t()
first = dist.get_rank() == 0
as_it_is = weight if first else torch.zeros(3, 2, dtype=weight.dtype)
dist.broadcast(as_it_is, 0)
contiguous = weight.contiguous() if first else torch.zeros(3, 2, dtype=weight.dtype)
dist.broadcast(contiguous, 0)
if not first:
    print(f"the tensor of the first:      {weight.tolist()}")
    print(f"broadcast as it is:           {as_it_is.tolist()}")
    print(f"broadcast after contiguous(): {contiguous.tolist()}")
dist.destroy_process_group()
PYTHON
seen=$("$folder/venv/bin/python" -m torch.distributed.run --standalone --nproc-per-node 2 \
    "$folder/ranks.py" 2>"$folder/log") || { cat "$folder/log"; exit 1; }
echo "$seen"
[ "$seen" = "the tensor of the first:      [[0, 3], [1, 4], [2, 5]]
broadcast as it is:           [[0, 1], [2, 3], [4, 5]]
broadcast after contiguous(): [[0, 3], [1, 4], [2, 5]]" ]
