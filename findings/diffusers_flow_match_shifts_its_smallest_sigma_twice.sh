#!/usr/bin/env bash
# FlowMatchEulerDiscreteScheduler shifts its table of noise levels when it is made and remembers the
# smallest as sigma_min, shifted already. set_timesteps(n) spaces n levels from sigma_max down to
# that sigma_min and shifts them all again, so the last step begins at a level shifted twice: with
# shift 8 at 0.060 where the table ends at 0.0079, and this last step leaps over all levels that
# training drew below it. The same levels named by hand, set_timesteps(sigmas=linspace(1, 1/1000, n)),
# are shifted once. So two callers with the same scheduler, shift and number of steps, one that
# passes sigmas as some pipelines do and one that does not, sample along different levels, and a
# training loop of one's own that shifts once agrees with the first alone.
#
# diffusers 0.42.1, torch 2.11.0. Seen (shift, end of the table, last of 20, last of 20 by sigmas=):
#   1.0 0.0010 0.0010 0.0010
#   3.0 0.0030 0.0089 0.0030
#   8.0 0.0079 0.0602 0.0079
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.11.0 diffusers==0.42.1 numpy
cd "$folder"
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler

steps = 20
for shift in (1.0, 3.0, 8.0):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    table = scheduler.sigmas[-1]
    scheduler.set_timesteps(steps)
    spaced = scheduler.sigmas[-2]  # a zero is appended behind the last step
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 1000, steps).tolist())
    print(f"{shift} {table:.4f} {spaced:.4f} {scheduler.sigmas[-2]:.4f}")
PYTHON
)
echo "$seen"
[ "$seen" = "1.0 0.0010 0.0010 0.0010
3.0 0.0030 0.0089 0.0030
8.0 0.0079 0.0602 0.0079" ]
