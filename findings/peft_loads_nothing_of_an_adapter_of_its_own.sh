#!/usr/bin/env bash
# peft puts adapters into a model by get_peft_model or by inject_adapter_in_model, which diffusers'
# add_adapter uses, and get_peft_model_state_dict names the weights of the first base_model.model.head
# and so on, those of the second plainly. set_peft_model_state_dict, its counterpart, reads the long
# names into either, but of the plain ones it loads nothing into a get_peft_model, without an error or
# a warning: training goes on from an adapter that changes nothing. Only the list unexpected_keys of
# what it returns says so; missing_keys beside it is full in a good load as well, by other weights.
#
# peft 0.21.2, torch 2.11.0. Seen (adapter of: into: ...):
#   injected into injected: changed True, missing 2, unexpected 0, warnings 0
#   get_peft_model into injected: changed True, missing 2, unexpected 0, warnings 0
#   injected into get_peft_model: changed False, missing 4, unexpected 2, warnings 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check peft==0.21.2 torch==2.11.0 numpy
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import warnings

import torch
from peft import (
    LoraConfig, get_peft_model, get_peft_model_state_dict, inject_adapter_in_model,
    set_peft_model_state_dict,
)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 4)


def adapted(way):
    config = LoraConfig(r=2, target_modules=["head"], init_lora_weights=False)
    return inject_adapter_in_model(config, Model()) if way == "injected" else get_peft_model(
        Model(), config
    )


for source, target in (
    ("injected", "injected"), ("get_peft_model", "injected"), ("injected", "get_peft_model")
):
    weights, model = get_peft_model_state_dict(adapted(source)), adapted(target)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = set_peft_model_state_dict(model, weights)
    changed = any(not torch.equal(w, before[name]) for name, w in model.state_dict().items())
    print(
        f"{source} into {target}: changed {changed}, missing {len(result.missing_keys)}, "
        f"unexpected {len(result.unexpected_keys)}, warnings {len(caught)}"
    )
PYTHON
)
echo "$seen"
[ "$seen" = "injected into injected: changed True, missing 2, unexpected 0, warnings 0
get_peft_model into injected: changed True, missing 2, unexpected 0, warnings 0
injected into get_peft_model: changed False, missing 4, unexpected 2, warnings 0" ]
