"""References: videos and images whose frames a sample keeps or starts from."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
)

import torch
from PIL import Image
from torch import Tensor

from opensora.core.errors import ConfigError
from opensora.core.guard import fault_of
from opensora.core.io import atomic_path, sha256_file
from opensora.media.formats import is_media
from opensora.media.frames import iter_fitted, to_uint8
from opensora.tables.prompts import REFERENCES, reference_picture

_CHUNK = 32  # frames encoded at once where the autoencoder sees each frame alone
_TIMEOUT_S = 60.0
MAX_BYTES = 2**30  # of a file that is fetched
_PIECE = 2**20  # bytes read at once
_WEB = (
    *(HTTPHandler, HTTPSHandler, ProxyHandler, HTTPRedirectHandler),
    *(HTTPDefaultErrorHandler, HTTPErrorProcessor),
)


@dataclass(frozen=True)
class Reference:
    """A file that frames are taken from.

    Attributes:
        name: as the user wrote it: a path or an address.
        path: the file on this disk.
        sha256: of its content.
    """

    name: str
    path: Path
    sha256: str


def find_references(names: Sequence[str], save_dir: Path) -> tuple[Reference, ...]:
    """Find files by path; http(s) addresses are downloaded once into `save_dir/references`.

    Only what an address itself names is fetched, by http or https, up to `MAX_BYTES`; what is no
    picture or video by its content does not stay.

    Raises:
        ConfigError: no such file, or it can not be fetched.
    """
    found = []
    for name in names:
        path = _download(name, save_dir / REFERENCES) if _is_url(name) else Path(name)
        if not path.is_file():
            raise ConfigError(
                f"reference_path {name!r}: no such file; give a video or an image on this disk."
            )
        found.append(Reference(name, path, sha256_file(path)))
    return tuple(found)


@torch.no_grad()
def encode_reference(
    reference: Reference, vae: Any, size: tuple[int, int], device: torch.device
) -> Tensor:
    """Latents of a reference.

    The posterior's mean is taken, so that equal files give equal latents.

    Args:
        reference: an image is a video of one frame.
        vae: encodes [1, 3, T, H, W] in [-1, 1].
        size: (height, width); the reference is scaled to fill it and cut in the middle.
        device: where the autoencoder is.

    Returns:
        [C, R, h, w].

    Raises:
        ConfigError: the file can not be read.
    """
    parts = []
    length = None if hasattr(vae, "grid") else _CHUNK
    try:
        for chunk in _read_chunks(reference.path, size, length):  # [n, 3, height, width]
            video = chunk[: whole_frames(vae, len(chunk))].transpose(0, 1)[None]
            parts.append(vae.encode(video.to(device), posterior="mean")[0])  # [C, r, h, w]
    except BaseException as error:
        raise _unreadable(reference, fault_of(error).detail) from error
    if not parts:
        raise _unreadable(reference, "it shows no frame")
    return torch.cat(parts, dim=1)


def keep_picture(reference: Reference, size: tuple[int, int], save_dir: Path) -> None:
    """Keep the first frame of a reference as it is encoded, beside the samples, for the report.

    Raises:
        ConfigError: the file can not be read.
    """
    target = save_dir / reference_picture(reference.sha256)
    if target.is_file():
        return
    first = first_frame(reference, size)
    with atomic_path(target) as temporary:
        Image.fromarray(to_uint8(first[:, None])[0]).save(temporary, "PNG")


def first_frame(reference: Reference, size: tuple[int, int]) -> Tensor:
    """The first frame of a reference, [3, height, width] in [-1, 1], scaled and cut to `size`.

    Raises:
        ConfigError: the file can not be read.
    """
    try:
        first = next(iter_fitted(reference.path, size), None)
    except BaseException as error:
        raise _unreadable(reference, fault_of(error).detail) from error
    if first is None:
        raise _unreadable(reference, "it shows no frame")
    return first


def whole_frames(vae: Any, num_frames: int) -> int:
    """The largest number of frames up to `num_frames` that the autoencoder takes as a video."""
    grid = getattr(vae, "grid", None)  # of autoencoders along time
    return num_frames if grid is None else int(grid.nearest_frames(num_frames)[0])


def _read_chunks(path: Path, size: tuple[int, int], length: int | None) -> Iterator[Tensor]:
    """Frames in [-1, 1], [n, 3, height, width], at most `length` at a time."""
    frames = iter_fitted(path, size)
    while chunk := list(itertools.islice(frames, length)):
        yield torch.stack(chunk)


def _is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def _download(url: str, folder: Path) -> Path:
    """Fetch a file, once; its name is a hash of the address.

    Raises:
        ConfigError: it can not be fetched.
    """
    suffix = Path(urlsplit(url).path).suffix
    target = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}{suffix}"
    if not target.is_file():
        try:
            with _web().open(url, timeout=_TIMEOUT_S) as answer:
                _save(answer, target)
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            raise ConfigError(
                f"reference_path {url!r} can not be fetched ({error}); download it and give the"
                " file."
            ) from error
    return target


def _web() -> OpenerDirector:
    """Opens http and https, also behind redirects, and nothing else."""
    opener = OpenerDirector()
    for handler in _WEB:
        opener.add_handler(handler())
    return opener


def _save(answer: HTTPResponse, target: Path) -> None:
    with atomic_path(target) as temporary:
        size = 0
        with open(temporary, "wb") as file:
            while piece := answer.read(_PIECE):
                size += len(piece)
                if size > MAX_BYTES:
                    raise HTTPException(f"it has more than {MAX_BYTES:,} bytes")
                file.write(piece)
        promised = answer.headers.get("Content-Length")
        if promised is not None and size != int(promised):
            raise HTTPException(f"{size} of {promised} bytes came")
        if not is_media(temporary):
            raise HTTPException("it is no picture or video that is opened")


def _unreadable(reference: Reference, reason: str) -> ConfigError:
    return ConfigError(
        f"reference_path {reference.name!r}: {reason}; give a video or an image that can be read."
    )
