#!/usr/bin/env bash
# With MixedPrecisionPolicy(param_dtype=torch.bfloat16) FSDP2 casts the inputs of the module too, all
# that are floats. A diffusion model's timesteps are often float32 whole numbers, and bfloat16 has 8
# bits for them: 999 arrives as 1000 and 997 as 996, whatever the model does with them in float32.
# No error, no warning, and training goes on with other noise levels. Integers are let through, and
# so are floats under autocast. cast_forward_inputs=False turns it off.
#
# torch 2.11.0, gloo, CPU, one process. Seen by the model for 999, 997, 251:
#   FSDP2, as it is: torch.bfloat16 [1000, 996, 251]
#   FSDP2, cast_forward_inputs=False: torch.float32 [999, 997, 251]
#   FSDP2, as it is, integers: torch.int64 [999, 997, 251]
#   autocast: torch.float32 [999, 997, 251]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 numpy
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(1, 1)

    def forward(self, timestep):
        self.seen = f"{timestep.dtype} {[int(t) for t in timestep]}"
        return self.head(timestep.to(self.head.weight.dtype)[:, None])


def sharded(**policy):
    mixed = MixedPrecisionPolicy(param_dtype=torch.bfloat16, **policy)
    return fully_shard(Model(), mesh=init_device_mesh("cpu", (1,)), mp_policy=mixed)


def show(words, model, timestep):
    model(timestep)
    print(f"{words}: {model.seen}")


dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
timestep = torch.tensor([999.0, 997.0, 251.0])
show("FSDP2, as it is", sharded(), timestep)
show("FSDP2, cast_forward_inputs=False", sharded(cast_forward_inputs=False), timestep)
show("FSDP2, as it is, integers", sharded(), timestep.long())
with torch.autocast("cpu", torch.bfloat16):
    show("autocast", Model(), timestep)
dist.destroy_process_group()
PYTHON
)
echo "$seen"
[ "$seen" = "FSDP2, as it is: torch.bfloat16 [1000, 996, 251]
FSDP2, cast_forward_inputs=False: torch.float32 [999, 997, 251]
FSDP2, as it is, integers: torch.int64 [999, 997, 251]
autocast: torch.float32 [999, 997, 251]" ]
