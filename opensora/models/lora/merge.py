"""Adapters in a file, and put into the weights they were trained on; peft is not needed for it.

In a file `blocks.0.attn.qkv.lora_A.weight` and `.lora_B.weight` belong to the layer
`blocks.0.attn.qkv`; what was trained whole has the name of the model. There is one naming: a name
that is missing or left over is an error, because adapters that find no layer change nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from opensora.core.errors import CheckpointError, OpenSoraError
from opensora.core.io import atomic_path
from opensora.models.lora.parts import A, B, check_shapes
from opensora.models.lora.settings import LoraSettings
from opensora.models.weights.files import reading_fault

_HEAD = "lora"  # key of the head of a file


@dataclass(frozen=True)
class Adapters:
    """What a file of adapters holds.

    Attributes:
        settings: they were trained with.
        model: type of the model.
        base: fingerprint of the layers that they were trained on.
        tensors: by name, see above.
    """

    settings: LoraSettings
    model: str
    base: str
    tensors: dict[str, Tensor]


def adapted_layers(tensors: Iterable[str]) -> list[str]:
    """Names of the layers that adapters belong to, in order."""
    return sorted(name.removesuffix(A) for name in tensors if name.endswith(A))


def fingerprint(weights: Mapping[str, Tensor], layers: Iterable[str]) -> str:
    """Hash of the weights of some layers, the same for a copy of them in bfloat16.

    Args:
        weights: of a model without adapters.
        layers: names of linear layers.
    """
    digest = sha256()
    for name in sorted(layers):
        rounded = weights[f"{name}.weight"].detach().to("cpu", torch.bfloat16).contiguous()
        digest.update(f"{name} {tuple(rounded.shape)}\n".encode())
        digest.update(rounded.view(torch.uint8).numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def merged(
    base: Mapping[str, Tensor], tensors: Mapping[str, Tensor], scaling: float
) -> dict[str, Tensor]:
    """Weights with W + scaling B A for each adapted layer, and all that was trained whole.

    Args:
        base: weights without adapters; they stay as they are.
        tensors: adapters by the names of a file; all belong to `base`.
        scaling: alpha / rank.
    """
    result = dict(base)
    for name, value in tensors.items():
        if name.endswith(A):
            weight = f"{name.removesuffix(A)}.weight"
            up = tensors[f"{name.removesuffix(A)}{B}"]
            old = base[weight]
            update = scaling * (up.to(old.device).float() @ value.to(old.device).float())
            result[weight] = (old.float() + update).to(old.dtype)
        elif not name.endswith(B):
            result[name] = value.detach().to(base[name].device, base[name].dtype)
    return result


def write_adapters(path: Path, adapters: Adapters) -> None:
    """Write a file of adapters, whole or not at all."""
    head = {"settings": asdict(adapters.settings), "model": adapters.model, "base": adapters.base}
    tensors = {name: value.detach().cpu().contiguous() for name, value in adapters.tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {_HEAD: json.dumps(head, sort_keys=True)})


def read_adapters(path: str | Path) -> Adapters:
    """Read a file of adapters.

    Raises:
        CheckpointError: there is none, or it holds something else.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"lora {path}: no such file; give the lora.safetensors of a training")
    try:
        with safe_open(path, "pt") as file:
            head = json.loads((file.metadata() or {}).get(_HEAD, "{}"))
        if not head:
            raise ValueError("its head says nothing of how they were trained")
        settings = LoraSettings.of(head["settings"])
        model, base = str(head["model"]), str(head["base"])
        return Adapters(settings, model, base, load_file(path))
    except (OSError, SafetensorError, OpenSoraError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"lora {path}: is no file of adapters ({reading_fault(error)}); give the"
            " lora.safetensors of a training"
        ) from error


def apply_adapters(model: nn.Module, path: str | Path) -> None:
    """Put the adapters of a file into the weights of a model.

    Raises:
        CheckpointError: they belong to another model, or to other weights of it.
    """
    adapters = read_adapters(path)
    shapes = {name: tuple(value.shape) for name, value in adapters.tensors.items()}
    check_shapes(shapes, model, adapters.settings, f"lora {path}")
    own = model.state_dict()
    layers = adapted_layers(adapters.tensors)
    if fingerprint(own, layers) != adapters.base:
        raise CheckpointError(
            f"lora {path}: was trained on other weights than those it is put into; give the ones"
            " that its training began with as --ckpt-path"
        )
    model.load_state_dict(merged(own, adapters.tensors, adapters.settings.scaling))
