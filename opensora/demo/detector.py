"""Say what a clip of the demo world shows, without any learned model.

The object is the largest blob whose chroma differs from a background that is fitted to the
borders. Its colour is the mean hue, its direction the slope of its centroid, and its shape the
template that overlaps best with the blob averaged over the frames.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from opensora.demo.render import coverage
from opensora.demo.world import COLOURS, DIRECTIONS, SHAPES

_MAX_SHORT_SIDE = 64  # pixels; larger clips are reduced, there is nothing more to see
_MIN_CHROMA = 40.0  # 0..255, distance from the background that makes an object
_AREA = (0.02, 0.60)  # of the frame, that an object may cover
_MAX_HUE_ERROR = 30.0  # degrees
_MIN_SATURATION = 0.3
_MIN_OVERLAP = 0.70  # with the best template
_MIN_TRAVEL = 0.08  # of the side, over the clip
_MIN_DOMINANCE = 1.5  # travel along the one axis over travel along the other
_MIN_STEADINESS = 0.8  # correlation of place and time

_PATCH = 48  # pixels; side of the normalised picture of a blob
_PATCH_OBJECT = 24.0  # pixels; square root of a blob's area in it
_BLURS = (0.0, 1.0, 1.6, 2.4, 3.4)  # pixels of the patch, standard deviation


@dataclass(frozen=True)
class Detection:
    """What is seen; None where the clip does not say."""

    colour: str | None
    shape: str | None
    direction: str | None


@dataclass(frozen=True)
class _Blob:
    """The object in one frame: cover [H, W] in 0..1, centroid (x, y), area in pixels."""

    frame: int
    cover: np.ndarray
    x: float
    y: float
    area: float
    is_whole: bool


def detect(frames: np.ndarray) -> Detection:
    """Find colour, shape and direction of the object.

    Args:
        frames: uint8 [T, H, W, 3] RGB, short side 24 pixels or more; T may be 1.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames: uint8 [T, H, W, 3] expected, got {frames.dtype} {frames.shape}")
    pixels = _reduced(frames).astype(np.float32)  # [T, H, W, 3]
    offset = pixels - _background(pixels)
    chroma = np.linalg.norm(offset - offset.mean(axis=-1, keepdims=True), axis=-1)  # [T, H, W]
    peak = float(np.percentile(chroma, 98))
    if peak < _MIN_CHROMA:
        return Detection(None, None, None)
    core = chroma > 0.75 * peak
    colour = np.median(pixels[core], axis=0)
    # part of each pixel that the object covers: 0 at the background, 1 at the object's colour
    towards = np.median(offset[core], axis=0)
    cover = np.clip(offset @ towards / (towards @ towards), 0, 1)  # [T, H, W]
    blobs = [blob for k, one in enumerate(cover) if (blob := _largest_blob(one, k)) is not None]
    if not blobs:
        return Detection(None, None, None)
    return Detection(_colour(colour), _shape(blobs), _direction(blobs, cover.shape))


def _reduced(frames: np.ndarray) -> np.ndarray:
    height, width = frames.shape[1:3]
    factor = _MAX_SHORT_SIDE / min(height, width)
    if factor >= 1:
        return frames
    size = (round(width * factor), round(height * factor))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def _background(pixels: np.ndarray) -> np.ndarray:
    """Fit a linear gradient to the borders; returns [H, W, 3].

    The object passes each place on the border only for a while, so the median over time shows
    the background; what is left of the object is dropped as the worst residuals.
    """
    height, width = pixels.shape[1:3]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    terms = np.stack([np.ones_like(x), x / width, y / height], axis=-1)  # [H, W, 3]
    ring = max(1, min(height, width) // 16)
    is_border = np.ones((height, width), bool)
    is_border[ring:-ring, ring:-ring] = False
    seen, at = np.median(pixels[:, is_border], axis=0), terms[is_border]  # [N, 3], [N, 3]
    middle = np.median(seen, axis=0)
    errors = np.linalg.norm(seen - middle, axis=-1)
    for _ in range(4):
        keep = errors <= max(np.quantile(errors, 0.6) * 1.5, 2.0)
        planes = np.linalg.lstsq(at[keep], seen[keep], rcond=None)[0]
        errors = np.linalg.norm(seen - at @ planes, axis=-1)
    return terms @ planes


def _largest_blob(cover: np.ndarray, frame: int) -> _Blob | None:
    solid = (cover > 0.5).astype(np.uint8)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(solid, connectivity=4)
    if count < 2:
        return None
    label = 1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA]))
    # the soft edge belongs to it
    around = cv2.dilate((labels == label).astype(np.uint8), np.ones((3, 3), np.uint8))
    cover = cover * around
    area = float(cover.sum())
    if not _AREA[0] * cover.size <= area <= _AREA[1] * cover.size:
        return None
    left, top, wide, tall = facts[label, : cv2.CC_STAT_AREA]
    height, width = cover.shape
    is_whole = left > 0 and top > 0 and left + wide < width and top + tall < height
    x = float(cover.sum(axis=0) @ np.arange(width)) / area
    y = float(cover.sum(axis=1) @ np.arange(height)) / area
    return _Blob(frame, cover, x, y, area, is_whole)


def _colour(rgb: np.ndarray) -> str | None:
    hue, saturation = _hue(rgb)
    if saturation < _MIN_SATURATION:
        return None
    errors = {
        name: abs((hue - _hue(np.array(known))[0] + 180) % 360 - 180)
        for name, known in COLOURS.items()
    }
    best = min(errors, key=errors.__getitem__)
    return best if errors[best] <= _MAX_HUE_ERROR else None


def _hue(rgb: np.ndarray) -> tuple[float, float]:
    """Return the angle on the colour circle in degrees, and (max - min) / max."""
    red, green, blue = (float(channel) for channel in rgb)
    angle = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
    high, low = max(red, green, blue), min(red, green, blue)
    return float(angle), (high - low) / max(high, 1.0)


def _shape(blobs: list[_Blob]) -> str | None:
    whole = [blob for blob in blobs if blob.is_whole] or blobs
    patch = np.mean([_normalised(blob) for blob in whole], axis=0)
    overlaps = {
        name: max(_overlap(patch, template) for template in _templates(name)) for name in SHAPES
    }
    best = max(overlaps, key=overlaps.__getitem__)
    return best if overlaps[best] >= _MIN_OVERLAP else None


def _normalised(blob: _Blob) -> np.ndarray:
    """Move the centroid to the middle of the patch and make the area the same."""
    scale = _PATCH_OBJECT / np.sqrt(blob.area)
    middle = (_PATCH - 1) / 2
    move = np.array([[scale, 0, middle - scale * blob.x], [0, scale, middle - scale * blob.y]])
    return cv2.warpAffine(blob.cover, move, (_PATCH, _PATCH), flags=cv2.INTER_LINEAR)


@functools.cache
def _templates(shape: str) -> tuple[np.ndarray, ...]:
    """Draw a shape with the patch's area and centroid, sharp and blurred."""
    tall, wide = SHAPES[shape]
    unit_area = {"circle": np.pi / 4, "square": 1.0, "triangle": tall * wide / 2}[shape]
    size = _PATCH_OBJECT / np.sqrt(unit_area)
    at = np.arange(_PATCH) - (_PATCH - 1) / 2
    # the centroid of a triangle lies a sixth of its height below the middle of its box
    below = size * tall / 6 if shape == "triangle" else 0.0
    sharp = coverage(shape, at, at + below, size)
    return tuple(cv2.GaussianBlur(sharp, (0, 0), blur) if blur else sharp for blur in _BLURS)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two soft masks."""
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def _direction(blobs: list[_Blob], shape: tuple[int, ...]) -> str | None:
    num_frames, height, width = shape
    if len(blobs) < max(3, num_frames // 2):
        return None
    times = np.array([blob.frame for blob in blobs])
    places = {"x": np.array([blob.x for blob in blobs]), "y": np.array([blob.y for blob in blobs])}
    travel = {
        axis: float(np.polyfit(times, place, 1)[0]) * (num_frames - 1)
        for axis, place in places.items()
    }
    far, near = sorted(travel, key=lambda axis: -abs(travel[axis]))
    side = width if far == "x" else height
    if abs(travel[far]) < max(_MIN_TRAVEL * side, _MIN_DOMINANCE * abs(travel[near])):
        return None
    if abs(np.corrcoef(times, places[far])[0, 1]) < _MIN_STEADINESS:
        return None
    sign = int(np.sign(travel[far]))
    vector = (sign, 0) if far == "x" else (0, sign)
    return next(name for name, known in DIRECTIONS.items() if known == vector)
