#!/usr/bin/env bash
# torch's FSDP2 (fully_shard) replaces the parameters of a module by split ones. An optimizer that was
# built before keeps the old ones: backward fills the gradients of the new, the step finds none, and
# nothing is trained. No error, no warning. DistributedDataParallel keeps the parameters, and
# a function that returns the module it was given reads as if it did as well.
#
# torch 2.11.0, gloo, CPU, two processes. Seen:
#   gradients of the model's weight: True
#   weight after a step of an optimizer built before: unchanged
#   weight after a step of an optimizer built afterwards: changed
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
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo")
torch.manual_seed(0)
model = torch.nn.Linear(8, 8)
before = torch.optim.SGD(model.parameters(), lr=1.0)
fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
afterwards = torch.optim.SGD(model.parameters(), lr=1.0)
model(torch.ones(2, 8)).sum().backward()
moved = {}
has_gradient = model.weight.grad is not None
for name, optimizer in (("before", before), ("afterwards", afterwards)):
    start = model.weight.full_tensor().clone()
    optimizer.step()
    moved[name] = not torch.equal(model.weight.full_tensor(), start)
if dist.get_rank() == 0:
    print(f"gradients of the model's weight: {has_gradient}")
    for name, has_moved in moved.items():
        words = "changed" if has_moved else "unchanged"
        print(f"weight after a step of an optimizer built {name}: {words}")
    assert has_gradient
    assert moved == {"before": False, "afterwards": True}
dist.barrier()
sys.stdout.flush()
os._exit(0)  # what gloo's threads do at the end of a process is not the matter here
PYTHON
"$folder/venv/bin/python" -m torch.distributed.run --standalone --nproc-per-node 2 \
    "$folder/ranks.py" 2>"$folder/log" || { cat "$folder/log"; exit 1; }
