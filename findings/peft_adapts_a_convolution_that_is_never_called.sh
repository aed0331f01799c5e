#!/usr/bin/env bash
# peft takes names of modules, and a patch embedding of a video transformer is a Conv3d called `proj`
# as the last layer of an attention is. Many models never call it: they multiply patches by its
# weight (conv.weight.flatten(1)), which is faster. peft then wraps it all the same, hands out the
# plain weight, and that adapter takes no part: it is counted as trainable, saved and loaded, and its
# gradient is always None. No error, no warning. With LoRA on linear layers alone all is well.
#
# peft 0.21.2, torch 2.11.0. Seen:
#   embed.proj.lora_A: trainable, gradient: no
#   embed.proj.lora_B: trainable, gradient: no
#   head.lora_A: trainable, gradient: yes
#   head.lora_B: trainable, gradient: yes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check peft==0.21.2 torch==2.11.0 numpy
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model


class PatchEmbed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Conv3d(4, 8, (1, 2, 2), (1, 2, 2))

    def forward(self, patches):  # [N, 16], cut before
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = PatchEmbed(), torch.nn.Linear(8, 1)

    def forward(self, patches):
        return self.head(self.embed(patches))


model = Model()
inject_adapter_in_model(LoraConfig(r=2, target_modules=["proj", "head"]), model)
model(torch.randn(3, 16)).sum().backward()
for name, parameter in model.named_parameters():
    if parameter.requires_grad:
        has_gradient = "no" if parameter.grad is None else "yes"
        print(f"{name.split('.default')[0]}: trainable, gradient: {has_gradient}")
PYTHON
)
echo "$seen"
[ "$seen" = "embed.proj.lora_A: trainable, gradient: no
embed.proj.lora_B: trainable, gradient: no
head.lora_A: trainable, gradient: yes
head.lora_B: trainable, gradient: yes" ]
