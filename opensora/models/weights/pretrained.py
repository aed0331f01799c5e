"""Weights by name: on this disk, on a hub, official files; loaders of other libraries."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from safetensors.torch import save_file

from opensora.core.errors import CheckpointError, OpenSoraError
from opensora.models.weights.files import (
    SUFFIXES,
    VARIANTS,
    find_weights,
    folder_variant,
    read_weights,
    reading_fault,
)
from opensora.models.weights.folders import resolve_folder
from opensora.models.weights.wrappers import has_wrappers

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
# for transformers, which else asks on the terminal whether to run code of a folder
NO_CODE = {"trust_remote_code": False}
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
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


def load_parts(load: Callable[[], _Loaded], folder: Path, *, kind: str) -> _Loaded:
    """Call a loader of another library; any way it fails on a folder becomes one sentence.

    Raises:
        CheckpointError: the folder does not hold what the loader expects.
    """
    try:
        return load()
    except OpenSoraError:
        raise
    except Exception as error:  # tokenizers raises Exception itself, the others a dozen kinds
        words = reading_fault(error) if str(error) else type(error).__name__
        raise CheckpointError(f"{kind}: {folder} can not be loaded: {words}") from error


def load_network(load: Callable[..., Any], folder: Path, *, kind: str, **options: Any) -> Any:
    """A frozen network in eval mode from `from_pretrained` of diffusers or transformers.

    Both fill weights that a folder lacks with random numbers; here that is an error. Both know
    no names with wrappers in them; such weights are read from a copy with the names of the model.

    Args:
        load: the `from_pretrained` of a class.
        folder: where the weights are.
        kind: what is loaded, for the message.
        **options: passed on to `load`.

    Raises:
        CheckpointError: the folder does not hold all weights of the class.
    """

    def read(place: Path) -> tuple[Any, dict[str, Any]]:
        given = {"output_loading_info": True, "variant": folder_variant(place), **options}
        return load_parts(lambda: load(place, **given), folder, kind=kind)

    if not sys.stderr.isatty():
        _hide_bars()
    network, info = read(folder)
    if info["missing_keys"] and any(map(has_wrappers, info["unexpected_keys"])):
        with TemporaryDirectory() as temporary:
            network, info = read(_bare_copy(folder, Path(temporary)))
    missing = sorted(info["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{kind}: {folder} lacks {len(missing)} weights (first: {missing[0]});"
            " give the folder of a complete model"
        )
    return network.eval().requires_grad_(False)


def _hide_bars() -> None:
    """No bars of reading weights, which are one long line of a log; those of downloads stay."""
    from huggingface_hub.utils import enable_progress_bars

    for library in ("transformers", "diffusers"):
        if logging := sys.modules.get(f"{library}.utils.logging"):
            logging.disable_progress_bar()
    enable_progress_bars()  # transformers takes the hub's away with its own


def _bare_copy(folder: Path, target: Path) -> Path:
    """A folder of another library with the names of its weights freed from wrappers."""
    files = find_weights(folder)
    library = "diffusion_pytorch_model" if files[0].name.startswith("diffusion") else "model"
    # tensors of one memory, such as tied embeddings, are refused by safetensors
    tensors = {name: value.clone() for name, value in read_weights(folder).items()}
    save_file(tensors, target / f"{library}.safetensors", {"format": "pt"})
    for file in folder.glob("*.json"):
        if not file.name.endswith((".index.json", *(f".index.{v}.json" for v in VARIANTS))):
            shutil.copyfile(file, target / file.name)
    return target
