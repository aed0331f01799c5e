#!/usr/bin/env bash
# For flow matching the multistep solvers of diffusers (UniPC, with which Wan comes, and DPM-Solver++)
# compute with exact noise levels and tell the network whole ones, cut off: a latent at level 251.9 is
# denoised as one of 251. FlowMatchEulerDiscreteScheduler gives the network the level itself. A
# network that was trained on levels as they were drawn is so told up to one level too little, always
# in the same direction; who swaps the scheduler of a pipeline, or compares two, swaps this too.
#
# diffusers 0.42.1, torch 2.11.0. Seen, of 20 steps with shift 3 (level: what the network is told):
#   UniPCMultistepScheduler: torch.int64, 251.87: 251, all cut off: True
#   DPMSolverMultistepScheduler: torch.int64, 249.79: 249, all cut off: True
#   FlowMatchEulerDiscreteScheduler: torch.float32, 149.79: 149.79, all cut off: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 torch==2.11.0
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import torch
from diffusers import (
    DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler,
)

flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
for scheduler in (
    UniPCMultistepScheduler(**flow), DPMSolverMultistepScheduler(**flow),
    FlowMatchEulerDiscreteScheduler(shift=3.0),
):
    scheduler.set_timesteps(20)
    told, levels = scheduler.timesteps, scheduler.sigmas[:20] * 1000
    cut = not told.is_floating_point() and torch.equal(told, levels.long())
    print(f"{type(scheduler).__name__}: {told.dtype}, {levels[-2]:.2f}: "
          f"{round(told[-2].item(), 2)}, all cut off: {cut}")
PYTHON
)
echo "$seen"
[ "$seen" = "UniPCMultistepScheduler: torch.int64, 251.87: 251, all cut off: True
DPMSolverMultistepScheduler: torch.int64, 249.79: 249, all cut off: True
FlowMatchEulerDiscreteScheduler: torch.float32, 149.79: 149.79, all cut off: False" ]
