"""Adapters in a model that is trained: made by peft, named here.

peft puts `base_layer`, `lora_A.default` and `lora_B.default` into the names of a layer, and has two
ways of naming that do not read each other. All other modules see the names of `merge.py`.
"""

import logging
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from opensora.core.errors import CheckpointError
from opensora.models.lora.parts import find_parts
from opensora.models.lora.settings import LoraSettings

log = logging.getLogger(__name__)

Item = TypeVar("Item")

_LIVE = ".default.weight"  # end of an adapter's name in the model
_BASE = ".base_layer."


def add_adapters(model: nn.Module, settings: LoraSettings, *, seed: int) -> None:
    """Give a model adapters that change nothing yet; from now on they alone are trained.

    Args:
        model: with its weights; its layers are wrapped in place.
        settings: which layers, and of which rank.
        seed: of A; B begins at 0.

    Raises:
        ConfigError: a name means nothing in this model.
    """
    layers, saved = find_parts(model, settings)
    # bitsandbytes, which peft imports where it is installed, warns of kernels that nobody asks for
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=layers)  # type: ignore[arg-type]
    own = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=own):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    for name in saved:
        model.get_parameter(name).requires_grad_(True)
    trained = sum(value.numel() for value in trained_tensors(model).values())
    everything = sum(parameter.numel() for parameter in model.parameters())
    log.info("lora layers=%d trained=%d of=%d parameters", len(layers), trained, everything)


def named(live: Mapping[str, Item]) -> dict[str, Item]:
    """What is trained by the names of a file, from those of the model."""
    return {name.replace(_LIVE, ".weight"): value for name, value in live.items()}


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What is trained of a model with adapters, by the names of a file; not copied."""
    return named({name: p for name, p in model.named_parameters() if p.requires_grad})


def base_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Weights of a model with adapters by the names it has without them; not copied."""
    return {
        name.replace(_BASE, "."): value
        for name, value in model.state_dict().items()
        if not name.endswith(_LIVE)
    }


@torch.no_grad()
def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], place: str) -> None:
    """Copy what was trained into a model with adapters.

    Args:
        model: receives them.
        tensors: by the names of a file.
        place: start of the sentence.

    Raises:
        CheckpointError: a name is missing or left over, or a shape is another.
    """
    own = trained_tensors(model)
    if own.keys() != tensors.keys() or any(own[n].shape != tensors[n].shape for n in own):
        raise CheckpointError(
            f"{place}: its {len(tensors)} tensors are not the {len(own)} that lora trains; set"
            " rank, targets and modules_to_save as they were"
        )
    for name, value in own.items():
        value.copy_(tensors[name])


def live_names(model: nn.Module) -> dict[str, str]:
    """Name in a file -> name in the model, of all that is trained."""
    live = [name for name, p in model.named_parameters() if p.requires_grad]
    return {name.replace(_LIVE, ".weight"): name for name in live}
