"""Weights by name: on this disk, on a hub, official files; folders of other libraries."""

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import snapshot_download
from safetensors import SafetensorError

from opensora.core.errors import CheckpointError
from opensora.core.io import sha256_file
from opensora.models.weights.files import SUFFIXES

DOWNLOADS = Path("pretrained_models")  # below the working folder, as in the reference
_DIT = "https://dl.fbaipublicfiles.com/DiT/models"
_LATTE = "https://huggingface.co/maxin-cn/Latte/resolve/main"
_PIXART = "https://huggingface.co/PixArt-alpha/PixArt-alpha/resolve/main"
_OPENSORA = "https://huggingface.co/hpcai-tech/Open-Sora/resolve/main"
OFFICIAL_FILES = {
    "DiT-XL-2-256x256.pt": f"{_DIT}/DiT-XL-2-256x256.pt",
    "DiT-XL-2-512x512.pt": f"{_DIT}/DiT-XL-2-512x512.pt",
    "Latte-XL-2-256x256-ucf101.pt": f"{_LATTE}/ucf101.pt",
    "PixArt-XL-2-256x256.pth": f"{_PIXART}/PixArt-XL-2-256x256.pth",
    "PixArt-XL-2-SAM-256x256.pth": f"{_PIXART}/PixArt-XL-2-SAM-256x256.pth",
    "PixArt-XL-2-512x512.pth": f"{_PIXART}/PixArt-XL-2-512x512.pth",
    "PixArt-XL-2-1024-MS.pth": f"{_PIXART}/PixArt-XL-2-1024-MS.pth",
    "OpenSora-v1-16x256x256.pth": f"{_OPENSORA}/OpenSora-v1-16x256x256.pth",
    "OpenSora-v1-HQ-16x256x256.pth": f"{_OPENSORA}/OpenSora-v1-HQ-16x256x256.pth",
    "OpenSora-v1-HQ-16x512x512.pth": f"{_OPENSORA}/OpenSora-v1-HQ-16x512x512.pth",
}  # names that configs give, and where the files are published
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
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


def resolve_weights(name: str | Path) -> Path:
    """The file or folder on this disk that the `from_pretrained` of a model means.

    Args:
        name: file or folder; an official file name, also looked for in `pretrained_models/`; or
            the hub name of a folder, downloaded into the hub cache if needed.

    Raises:
        CheckpointError: not there, with where to get it.
    """
    path = Path(name)
    if path.exists():
        return path
    if str(path) in OFFICIAL_FILES:
        if (DOWNLOADS / path).is_file():
            return DOWNLOADS / path
        raise CheckpointError(
            f"{name}: no such file here or in {DOWNLOADS}/; opensora does not download official"
            f" weights, so get {OFFICIAL_FILES[str(path)]} and save it as {DOWNLOADS / path}, or"
            " give the path of your copy"
        )
    if _HUB_NAME.fullmatch(str(name)) and path.suffix not in SUFFIXES:
        return resolve_folder(name, kind="model")
    raise CheckpointError(
        f"{name}: no such file or folder; give a weight file ({', '.join(SUFFIXES)}), a folder, or"
        " a hub name"
    )


def resolve_folder(
    name: str | Path,
    *,
    kind: str,
    cache_dir: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """A folder on this disk for a path or a hub name, downloaded into the hub cache if needed.

    Args:
        name: folder, or a name on the Hugging Face hub.
        kind: what is loaded, for the message.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.

    Raises:
        CheckpointError: neither a folder nor a name that can be fetched.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(
            snapshot_download(
                str(name),
                allow_patterns=list(_WANTED),
                cache_dir=cache_dir,
                local_files_only=local_files_only,
            )
        )
    except (OSError, ValueError) as error:
        where = "is in the hub cache" if local_files_only else "can be fetched from here"
        raise CheckpointError(
            f"{kind}: {str(name)!r} is neither a folder on this disk nor a hub name that {where};"
            " make or download the weights and give their folder"
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
    return files_sha256(files)


def files_sha256(files: Sequence[Path]) -> str:
    """The hash of one file; of several, the hash of their hashes in this order."""
    digests = [sha256_file(path) for path in files]
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()
