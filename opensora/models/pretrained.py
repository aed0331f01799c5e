"""Folders of weights in the formats of diffusers, transformers and open_clip."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError

from opensora.core.errors import CheckpointError
from opensora.core.io import sha256_file

DTYPES = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
}
_WANTED = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt")
_WEIGHTS = (".safetensors", ".bin")
_LOADER_ERRORS = (
    SafetensorError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    ImportError,
)  # seen from diffusers, transformers and open_clip on a wrong folder
_Loaded = TypeVar("_Loaded")


def parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The torch type that a name in a config means.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def resolve_folder(name: str | Path, *, kind: str) -> Path:
    """A folder on this disk for a path or a hub name, downloaded into the hub cache if needed.

    Args:
        name: folder, or a name on the Hugging Face hub.
        kind: what is loaded, for the message.

    Raises:
        CheckpointError: neither a folder nor a name that can be fetched.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(str(name), allow_patterns=list(_WANTED)))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{kind}: {str(name)!r} is neither a folder on this disk nor a hub name that can be"
            " fetched from here; make or download the weights and give their folder"
        ) from error


def load_parts(load: Callable[[], _Loaded], folder: Path, *, kind: str) -> _Loaded:
    """Call a loader of another library; any way it fails on a folder becomes one sentence.

    Raises:
        CheckpointError: the folder does not hold what the loader expects.
    """
    try:
        return load()
    except _LOADER_ERRORS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{kind}: {folder} can not be loaded: {reason[:200]}") from error


def load_network(load: Callable[..., Any], folder: Path, *, kind: str, **options: Any) -> Any:
    """A frozen network in eval mode from `from_pretrained` of diffusers or transformers.

    Both fill weights that a folder lacks with random numbers; here that is an error.

    Args:
        load: the `from_pretrained` of a class.
        folder: where the weights are.
        kind: what is loaded, for the message.
        **options: passed on to `load`.

    Raises:
        CheckpointError: the folder does not hold all weights of the class.
    """
    network, info = load_parts(
        lambda: load(folder, output_loading_info=True, **options), folder, kind=kind
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{kind}: {folder} lacks {len(missing)} weights (first: {missing[0]});"
            " give the folder of a complete model"
        )
    return network.eval().requires_grad_(False)


def weights_sha256(folder: Path) -> str:
    """One hash over all weight files of a folder, in the order of their names.

    Raises:
        CheckpointError: no weight file there.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS)
    if not files:
        raise CheckpointError(f"{folder}: holds no weights ({' or '.join(_WEIGHTS)})")
    digests = [sha256_file(path) for path in files]
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()
