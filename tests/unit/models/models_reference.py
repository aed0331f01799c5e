"""Numbers of the reference implementation and the deterministic weights they belong to."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

DATA = Path(__file__).parents[2] / "data" / "reference"
TABLE = json.loads((DATA / "models.json").read_text())
TENSORS = load_file(DATA / "models.safetensors")
MANIFESTS = json.loads((DATA / "model_manifests.json").read_text())["models"]


def tensors(case: str) -> dict[str, Tensor]:
    """Inputs of a case by argument name or position."""
    prefix = f"{case}/in/"
    return {k.removeprefix(prefix): v for k, v in TENSORS.items() if k.startswith(prefix)}


@torch.no_grad()
def fill(module: nn.Module) -> nn.Module:
    """Weights that depend on the parameter names alone; eval mode.

    Small normal values seeded by the name, plus one for the weights of norms inside a model.
    """
    for name, parameter in module.named_parameters():
        if name == "rope.freqs":
            continue
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        value = np.float32(rng.standard_normal(tuple(parameter.shape)) * 0.05)
        if parameter.ndim == 1 and name.endswith("norm.weight"):
            value = np.float32(1) + value
        parameter.copy_(torch.from_numpy(value))
    return module.eval()
