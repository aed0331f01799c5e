#!/usr/bin/env bash
# DistributedDataParallel deals gradients to new buckets after its first backward pass, in the order
# in which they became ready. Gloo's ring adds each piece of a bucket beginning at another rank, so
# with three ranks or more the same gradients are then added in another order. A run that was stopped
# and started again has its first pass at another step: from the same weights and the same data it
# gets other sums in the last digits, and the resumed run is never bit-equal. With two ranks it is,
# because a + b is b + a. One would expect a step to depend on weights and data alone.
#
# torch 2.11.0, gloo, CPU. Seen (the third line's difference is of the size of one rounding):
#   2 ranks: second pass of one wrapper equals the first pass of a new one: True
#   3 ranks: second pass of one wrapper equals the first pass of a new one: False
#   largest difference relative to the largest gradient: below 1e-6
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 numpy
cat >"$folder/ranks.py" <<'PYTHON'
import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def gradients(wrapper, rank):
    wrapper.zero_grad()
    data = torch.randn(8, 64, generator=torch.Generator().manual_seed(rank))
    wrapper(data).square().mean().backward()
    return torch.cat([p.grad.flatten() for p in wrapper.module.parameters()])


torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(4)))
going_on = DistributedDataParallel(model)
gradients(going_on, rank)
second = gradients(going_on, rank)
first = gradients(DistributedDataParallel(model), rank)
if rank == 0:
    equal = torch.equal(second, first)
    error = float((second - first).abs().max() / first.abs().max())
    ranks = os.environ["WORLD_SIZE"]
    print(f"{ranks} ranks: second pass of one wrapper equals the first pass of a new one: {equal}")
    print(f"largest difference relative to the largest gradient: {error:.1e}")
    assert equal == (ranks == "2")
    assert error < 1e-6
dist.destroy_process_group()
PYTHON
for ranks in 2 3; do
    "$folder/venv/bin/python" -m torch.distributed.run --standalone --nproc-per-node "$ranks" \
        "$folder/ranks.py" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
done
