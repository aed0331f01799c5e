"""Load the autoencoder of a folder, whichever kind it is."""

from typing import Any

import torch

from opensora.config.registry import MODELS, build_module, registered_names
from opensora.core.errors import CheckpointError
from opensora.core.io import read_json
from opensora.models.pretrained import resolve_folder
from opensora.models.vae.base import VideoAutoencoder


def load_autoencoder(name: str, device: str, dtype: torch.dtype) -> Any:
    """Load the autoencoder that a folder's `config.json` names as its `_class_name`.

    Args:
        name: folder in the diffusers format, or a hub name.
        device: where it goes.
        dtype: type of its weights there.

    Raises:
        CheckpointError: not there, or of a kind that is not known.
    """
    folder = resolve_folder(name, kind="autoencoder")
    file = folder / "config.json"
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; give the folder of an autoencoder of diffusers")
    network = read_json(file).get("_class_name")
    classes = {kind: MODELS.get(kind) for kind in registered_names(MODELS)}
    kinds = {
        found.network: kind
        for kind, found in classes.items()
        if isinstance(found, type) and issubclass(found, VideoAutoencoder)
    }
    if network not in kinds:
        raise CheckpointError(
            f"{file}: _class_name is {network!r}; expected one of {', '.join(sorted(kinds))}"
        )
    config = {"type": kinds[network], "from_pretrained": str(folder)}
    return build_module(config, MODELS).to(device, dtype)
