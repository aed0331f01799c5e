"""Pictures, still and moving, as uint8 RGB frames."""

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from opensora.core import limits
from opensora.core.errors import VideoError
from opensora.media.formats import IMAGE_SUFFIXES, OPENED, PICTURES, check_file, content_of

_WEBP_FLAGS, _WEBP_ALPHA = 20, 0x10  # place and bit in the extended header
_KINDS = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of profiles -> mode of Pillow
_USUAL_MS = 100  # of a frame that gives no duration, as browsers have it


@dataclass(frozen=True)
class MovingFacts:
    """Times in milliseconds at which the frames of a moving picture appear, and its size."""

    times_ms: tuple[int, ...]
    height: int
    width: int
    codec: str


def is_image(path: Path) -> bool:
    """Tell a still picture from a video by its content; by its suffix where it can not be read."""
    try:
        content = content_of(path)
    except Exception:  # of no access, or of what a damaged head makes of its reader
        return path.suffix.lower() in IMAGE_SUFFIXES
    return bool(content.picture) and not content.is_moving


def read_image(path: Path) -> tuple[np.ndarray, str]:
    """Read an image upright (EXIF rotation applied); what is transparent becomes white.

    Returns:
        uint8 [H, W, 3] RGB and the name of the format in lower case.

    Raises:
        VideoError: the file is missing, empty, no image, too large, or cut off.
    """
    with _opened(path) as image:
        image.load()
        return _pixels(image), (image.format or "").lower()


def moving_facts(path: Path) -> MovingFacts:
    """List the frames of a moving picture.

    Raises:
        VideoError: see :func:`read_image`.
    """
    with _opened(path) as image:
        codec, size, time, times = (image.format or "").lower(), (0, 0), 0, []
        for frame in _frames(image):
            times.append(time)
            # a frame without a duration would hide behind the next
            time += round(float(frame.info.get("duration", 0))) or _USUAL_MS
            size = size if len(times) > 1 else ImageOps.exif_transpose(frame).size
        return MovingFacts(tuple(times), size[1], size[0], codec)


def moving_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a moving picture, uint8 [H, W, 3] RGB; what is transparent is white.

    Raises:
        VideoError: see :func:`read_image`.
    """
    with _opened(path) as image:
        yield from map(_pixels, _frames(image))


def _frames(image: Image.Image) -> Iterator[Image.Image]:
    # a PNG may hold a picture for readers that show no movement: it is no frame
    first = int(bool(image.info.get("default_image", False)))
    for number in range(first, getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()  # only then a duration is known
        yield image


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture of a kind that is opened; every fault becomes a VideoError."""
    check_file(path)
    try:
        # the list keeps out readers that start other programs
        with Image.open(_source(path), formats=PICTURES) as image:
            if (
                image.width * image.height > limits.PICTURE_PIXELS
            ):  # a header could ask for all memory
                raise _too_large(path, f"{image.width} x {image.height}")
            yield image
    except PermissionError as error:
        raise VideoError("unreadable", f"{path.name} may not be read: {error.strerror}") from error
    except UnidentifiedImageError as error:
        detail = f"{path.name} is not an image; opened are {OPENED}"
        raise VideoError("not_a_video", detail) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far too many") from error
    # the last of the AVIF decoder, about content that it can not decode
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:
        raise VideoError("corrupt", f"{path.name} is damaged or cut off ({error})") from error


def _source(path: Path) -> Path | io.BytesIO:
    """The file, or what Pillow shows in full.

    Frames of a WebP may cover a part of it. Where none of them is transparent itself, the file need
    not say so, and then Pillow shows black where nothing is.
    """
    content = content_of(path)
    if content.picture != "WEBP" or not content.is_moving:
        return path
    data = bytearray(path.read_bytes())
    data[_WEBP_FLAGS] |= _WEBP_ALPHA
    return io.BytesIO(data)


def _too_large(path: Path, pixels: str) -> VideoError:
    return VideoError(
        "too_large",
        f"{path.name} claims {pixels} pixels, at most {limits.PICTURE_PIXELS:,} are read",
    )


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which PIL would clip at 255
        grey = np.asarray(image).astype(np.uint32) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    profile = image.info.get("icc_profile")  # composing leaves it behind
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return _in_srgb(image, profile) or image.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """A picture that brings a profile of its own (Display P3, Adobe RGB, print) as sRGB.

    None where it has none, or one that says sRGB, is broken, or is not of these pixels.
    """
    if not profile or image.mode == "1":
        return None
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        kind = own.profile.xcolor_space.strip()
        if kind not in _KINDS or "sRGB" in (own.profile.profile_description or ""):
            return None
        pixels = image.convert(_KINDS[kind]) if kind != "CMYK" else image
        if pixels.mode != _KINDS[kind]:
            return None
        return ImageCms.profileToProfile(pixels, own, _srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
