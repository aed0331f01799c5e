"""The one door from a file to pixels of a size: frames chosen, resized and cropped; and compared.

Stored and online training, references, evaluation and the encoders that a run trains come through
here, so that all of them see equal pixels of a clip. Shrinking averages over source pixels. A still
picture is fitted with bicubic weights, a frame of a film with linear ones, as in the reference,
which does not average in films.

Clips are [T, 3, H, W], images PIL RGB; sizes are (height, width) in pixels.

Source: Open-Sora 1.1 (`datasets/video_transforms.py`, `datasets/utils.py`); `center_crop_arr` is
guided-diffusion's.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from opensora.core.errors import ConfigError, VideoError
from opensora.core.seed import derive_seed
from opensora.media.decode import Picture, iter_pictures

Size = tuple[int, int]
TRANSFORM_NAMES = ("center", "resize_crop")
FILL = "resize_crop"


def resize_crop_to_fill(
    clip: Tensor, size: Size, *, shown: Size | None = None, antialias: bool = True
) -> Tensor:
    """Resize so that the clip just covers `size`, then cut the middle out.

    Args:
        clip: uint8 or float [T, 3, H, W].
        size: (height, width) wanted.
        shown: (height, width) at which the clip is to be seen; None where its pixels are square.
        antialias: average over source pixels when shrinking; the reference does not, which makes
            small shapes jagged.

    Returns:
        [T, 3, height, width], bilinear, of the clip's type.
    """
    scaled, by_height = _cover(shown or clip.shape[-2:], size)
    clip = _resize(clip, scaled, antialias)
    top, left = _middle(scaled, size, by_height)
    return clip[..., top : top + size[0], left : left + size[1]]


def _resize(clip: Tensor, size: Size, antialias: bool) -> Tensor:
    if clip.shape[-2:] == size:  # every pixel would become itself
        return clip
    return functional.interpolate(
        clip, size=size, mode="bilinear", align_corners=False, antialias=antialias
    )


def resize_crop_to_fill_image(image: Image.Image, size: Size) -> Image.Image:
    """Do the same with an image: bicubic, antialiased."""
    scaled, by_height = _cover((image.height, image.width), size)
    image = image.resize((scaled[1], scaled[0]), Image.Resampling.BICUBIC)
    top = 0 if by_height else round((scaled[0] - size[0]) / 2)
    left = round((scaled[1] - size[1]) / 2) if by_height else 0
    return image.crop((left, top, left + size[1], top + size[0]))


def _cover(source: Sequence[int], size: Size) -> tuple[Size, bool]:
    """Return the smallest size of the source's shape that covers `size`; True: heights agree."""
    by_height, by_width = size[0] / source[0], size[1] / source[1]
    if by_height > by_width:
        return (size[0], round(source[1] * by_height)), True
    return (round(source[0] * by_width), size[1]), False


def _middle(scaled: Size, size: Size, by_height: bool) -> tuple[int, int]:
    """First row and column of the middle of a clip."""
    # the reference truncates here and rounds half to even for images: up to a pixel apart
    top = 0 if by_height else (scaled[0] - size[0]) // 2
    left = (scaled[1] - size[1]) // 2 if by_height else 0
    return top, left


def center_crop(clip: Tensor, size: Size) -> Tensor:
    """Cut the middle out of [T, 3, H, W].

    Raises:
        ValueError: the clip is smaller than `size`.
    """
    height, width = clip.shape[-2:]
    if height < size[0] or width < size[1]:
        raise ValueError(f"a crop of {size} does not fit into {(height, width)}")
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    return clip[..., top : top + size[0], left : left + size[1]]


def resize_short_edge(
    clip: Tensor, edge: int, *, shown: Size | None = None, antialias: bool = True
) -> Tensor:
    """Resize [T, 3, H, W] so that the shorter side becomes `edge`, bilinear.

    As in the reference the scale factor itself sets the sampling grid and the longer side is
    rounded down; unlike there rounding never leaves the shorter side a pixel too short. See
    `resize_crop_to_fill` for the arguments.
    """
    height, width = clip.shape[-2:]
    scale = _short_edge_scale(shown or (height, width), edge)
    if shown not in (None, (height, width)):
        return _resize(clip, (int(shown[0] * scale), int(shown[1] * scale)), antialias)
    return functional.interpolate(
        clip, scale_factor=scale, mode="bilinear", align_corners=False, antialias=antialias
    )


def _short_edge_scale(source: Size, edge: int) -> float:
    """Factor that makes the shorter side `edge` after rounding down."""
    scale = edge / min(source)
    return scale if int(min(source) * scale) >= edge else float(np.nextafter(scale, np.inf))


def resize_center_crop(
    clip: Tensor, edge: int, *, shown: Size | None = None, antialias: bool = True
) -> Tensor:
    """Resize the shorter side to `edge` and cut the middle square out of [T, 3, H, W]."""
    scaled = resize_short_edge(clip, edge, shown=shown, antialias=antialias)
    return center_crop(scaled, (edge, edge))


def center_crop_arr(image: Image.Image, edge: int) -> Image.Image:
    """Resize an image's shorter side to `edge` and cut the middle square out.

    Halves by box averaging while possible, then bicubic.
    """
    while min(image.size) >= 2 * edge:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = edge / min(image.size)
    scaled = (round(image.width * scale), round(image.height * scale))
    image = image.resize(scaled, Image.Resampling.BICUBIC)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    return image.crop((left, top, left + edge, top + edge))


def fit_image(image: Image.Image, name: str, size: Size) -> Image.Image:
    """Bring a still picture to a size.

    Args:
        image: RGB.
        name: "center" (square of size[0]) or "resize_crop" (fill `size`).
        size: (height, width).
    """
    if name == "center":
        return center_crop_arr(image, size[0])
    return resize_crop_to_fill_image(image, size)


class FrameTransform:
    """Brings pictures to a size, one at a time.

    Args:
        name: "center" (square of size[0]) or "resize_crop" (fill `size`).
        size: (height, width) wanted.

    Raises:
        ConfigError: unknown name.
    """

    def __init__(self, name: str, size: Size) -> None:
        if name not in TRANSFORM_NAMES:
            raise ConfigError(f"unknown transform {name!r}; expected one of {TRANSFORM_NAMES}")
        self._name = name
        self._size = size

    def levels(self, picture: Picture) -> Tensor:
        """Return a picture at the size, uint8 [3, height, width]."""
        if picture.is_still:
            fitted = fit_image(Image.fromarray(picture.pixels), self._name, self._size)
            return torch.from_numpy(np.array(fitted)).permute(2, 0, 1)
        # channels last, as they come: torch averages such bytes ten times as fast as floats
        pixels = torch.from_numpy(picture.pixels).permute(2, 0, 1)[None]  # [1, 3, H, W]
        if self._name == "center":
            return resize_center_crop(pixels, self._size[0], shown=picture.shown)[0]
        return resize_crop_to_fill(pixels, self._size, shown=picture.shown)[0]

    def __call__(self, picture: Picture, out: Tensor) -> None:
        """Write a picture into `out`, float32 [3, height, width] in [-1, 1]."""
        torch.mul(self.levels(picture), 1 / 127.5, out=out).sub_(1)


def iter_fitted(
    path: str | Path,
    size: Size,
    *,
    start: int = 0,
    stop: int | None = None,
    frame_interval: int = 1,
) -> Iterator[Tensor]:
    """Yield frames of a file, each scaled to fill a size as soon as it is decoded.

    Args:
        path: video or image.
        size: (height, width) wanted.
        start: index of the first frame.
        stop: index behind the last frame looked at; None reads to the end.
        frame_interval: every which frame.

    Yields:
        float32 [3, height, width] in [-1, 1].

    Raises:
        VideoError: the file can not be read.
    """
    transform = FrameTransform(FILL, size)
    for picture in itertools.islice(iter_pictures(path, stop=stop), start, None, frame_interval):
        frame = torch.empty(3, *size)
        transform(picture, frame)
        yield frame


def read_clip(
    path: str | Path, num_frames: int, size: Size, frame_interval: int, start: int = 0
) -> Tensor:
    """Read some frames of a clip at a size: `num_frames`, every `frame_interval`-th from `start`.

    A long or large clip costs one frame of memory.

    Args:
        path: video or image.
        num_frames: T.
        size: (height, width) wanted.
        frame_interval: source frames per used frame.
        start: the first of them.

    Returns:
        float32 [3, T, H, W] in [-1, 1].

    Raises:
        VideoError: the file can not be read or has too few frames.
    """
    clip = torch.empty(3, num_frames, *size)
    stop = start + (num_frames - 1) * frame_interval + 1
    found = 0
    frames = iter_fitted(path, size, start=start, stop=stop, frame_interval=frame_interval)
    for frame in frames:
        clip[:, found] = frame
        found += 1
    if found < num_frames:
        raise VideoError(
            "too_short",
            f"{path}: the plan needs {num_frames} frames at interval {frame_interval}, the"
            f" file has {found}; run split_clips and what follows again",
        )
    return clip


def to_uint8(video: Tensor) -> np.ndarray:
    """Turn [3, T, H, W] in [-1, 1] into uint8 frames [T, H, W, 3]; values outside are clipped."""
    levels = (video.float().clamp(-1, 1) + 1) * 127.5  # [3, T, H, W], 0..255
    return levels.add(0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()


def psnr(reference: Tensor, other: Tensor, *, peak: float = 255.0) -> Tensor:
    """Peak signal-to-noise ratio of each row in dB: 10 log10(peak^2 / mean squared error).

    Args:
        reference: [N, ...].
        other: the same shape.
        peak: range of the values: 255 for uint8 pixels, 2 for pixels in [-1, 1].

    Returns:
        float64 [N]; infinity where rows are equal.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != other.shape:
        raise ValueError(f"shapes differ: {tuple(reference.shape)} and {tuple(other.shape)}")
    error = (reference.double() - other.double()).square().flatten(1).mean(1)  # [N]
    return 10 * (peak**2 / error).log10()


def choose_window(
    identity: str,
    total_frames: int,
    num_frames: int,
    frame_interval: int,
    *,
    seed: int,
    epoch: int,
) -> np.ndarray:
    """Draw a window of a clip; the draw depends on (seed, epoch, id) alone.

    All starts at which num_frames * frame_interval frames fit are as likely, the last one too.
    A shorter clip is covered whole.

    Args:
        identity: id of the clip.
        total_frames: frames of the clip.
        num_frames: frames wanted.
        frame_interval: source frames per wanted frame.
        seed: base of all draws.
        epoch: number of the pass.

    Returns:
        int [num_frames], rising frame indices; see `temporal_crop`.

    Raises:
        ValueError: the clip has fewer than `num_frames` frames.

    Source: Open-Sora 1.1 (`datasets/utils.py`, TemporalRandomCrop), whose draw stops one short of
    the last start.
    """
    num_starts = max(total_frames - num_frames * frame_interval, 0) + 1
    begin = derive_seed(seed, "window", epoch, identity) % num_starts
    return temporal_crop(begin, total_frames, num_frames, frame_interval)


def temporal_crop(
    begin: int, total_frames: int, num_frames: int, frame_interval: int = 1
) -> np.ndarray:
    """Return the frame indices [num_frames] of a crop in time.

    Frames are spread evenly over [begin, begin + num_frames * frame_interval), truncated to whole
    indices; a video that ends earlier is covered to its end.

    Raises:
        ValueError: fewer than `num_frames` frames from `begin` on.
    """
    if total_frames - begin < num_frames:
        raise ValueError(f"{num_frames} frames from {begin} on do not fit into {total_frames}")
    end = min(begin + num_frames * frame_interval, total_frames)
    return np.linspace(begin, end - 1, num_frames, dtype=int)
