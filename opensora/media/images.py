"""Still images as one uint8 RGB frame."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from opensora.core.errors import VideoError
from opensora.media.container import check_file

# a larger picture is refused unread, as FFmpeg does with videos: a header of some bytes could ask
# for all memory
MAX_PIXELS = 2**28
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def is_image(path: Path) -> bool:
    """Tell a still image from a video by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def read_image(path: Path) -> tuple[np.ndarray, str]:
    """Read an image upright (EXIF rotation applied); what is transparent becomes white.

    Returns:
        uint8 [H, W, 3] RGB and the name of the format in lower case.

    Raises:
        VideoError: the file is missing, empty, no image, too large, or cut off.
    """
    check_file(path)
    try:
        with Image.open(path) as image:
            codec = (image.format or "").lower()
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path, f"{image.width} x {image.height}")
            image.load()
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image))), codec
    except PermissionError as error:
        raise VideoError("unreadable", f"{path.name} may not be read: {error.strerror}") from error
    except UnidentifiedImageError as error:
        raise VideoError("not_a_video", f"{path.name} is not an image") from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far too many") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise VideoError("corrupt", f"{path.name} is damaged or cut off ({error})") from error


def _too_large(path: Path, pixels: str) -> VideoError:
    return VideoError(
        "too_large", f"{path.name} claims {pixels} pixels, at most {MAX_PIXELS:,} are read"
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which PIL would clip at 255
        grey = np.asarray(image).astype(np.uint32) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
