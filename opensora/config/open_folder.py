"""What the folder of an open model says of its transformer before anything is loaded."""

from collections.abc import Mapping
from typing import Any

from opensora.config.latent_grid import Size3, find_config
from opensora.core.errors import OpenSoraError
from opensora.core.io import read_json

_OPEN, _PART = "diffusers", "transformer"  # the type of all open models; of a pipeline


def read_patch(model: Mapping[str, Any]) -> Size3 | None:
    """Latent frames, rows and columns of one token of an open model.

    Args:
        model: fields of a config.

    Returns:
        None for another model, and where nothing on this disk says it.
    """
    if model.get("type") != _OPEN:
        return None
    fields = model.get("architecture") or _fields(model)
    side, time = fields.get("patch_size"), fields.get("patch_size_t")
    if isinstance(side, list | tuple):
        t, h, w = side
        return int(t), int(h), int(w)
    return None if side is None else (int(time or 1), int(side), int(side))


def _fields(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the transformer's `config.json`; none where it is not here or can not be read."""
    name, part = model.get("from_pretrained"), model.get("part") or _PART
    file = find_config(str(name), part) if name else None
    if file is None or not file.is_file():
        return {}
    try:
        found = read_json(file)
    except OpenSoraError:  # said by whoever loads the model
        return {}
    return found if isinstance(found, dict) else {}
