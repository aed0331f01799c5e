"""Soft, low-saturation gradients that differ enough from scene to scene to be seen as a cut."""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

SATURATION = (0.08, 0.20)
VALUE = (0.36, 0.92)
SLOPE = (0.05, 0.09)  # brightness change from the middle to the edge

# Mean change in hue (0..179), saturation and value (0..255) over a cut, the score of
# PySceneDetect's ContentDetector, whose threshold is 27. The object adds to it or takes away.
MIN_CUT_SCORE = 42.0


@dataclass(frozen=True)
class Background:
    """A linear gradient around one tint.

    Attributes:
        tint: RGB of the middle, each 0..1.
        slope: change of brightness, as a factor, from the middle to the edge.
        angle: direction in which it gets brighter, radians.
    """

    tint: tuple[float, float, float]
    slope: float
    angle: float

    def pixels(self, height: int, width: int) -> np.ndarray:
        """Draw it; returns float32 [H, W, 3], 0..255."""
        y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height * 2 - 1
        x = (np.arange(width, dtype=np.float32)[None, :] + 0.5) / width * 2 - 1
        ramp = x * np.float32(np.cos(self.angle)) + y * np.float32(np.sin(self.angle))
        light = 1 + np.float32(self.slope) * ramp  # [H, W]
        tint = np.array(self.tint, dtype=np.float32)
        return np.clip(255 * light[..., None] * tint, 0, 255)  # [H, W, 3]


def sample_background(rng: np.random.Generator) -> Background:
    """Draw a random tint, brightness and direction of light."""
    tint = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*SATURATION), rng.uniform(*VALUE))
    return Background(tint, float(rng.uniform(*SLOPE)), float(rng.uniform(0, 2 * np.pi)))


def differing_background(rng: np.random.Generator, before: Background) -> Background:
    """Draw until the cut from `before` can not be missed."""
    while True:  # about one draw in three will do
        candidate = sample_background(rng)
        if cut_score(before, candidate) >= MIN_CUT_SCORE:
            return candidate


def cut_score(before: Background, after: Background) -> float:
    """Mean change over hue, saturation and value between two backgrounds."""
    images = [_hsv(background) for background in (before, after)]
    return float(np.abs(images[0] - images[1]).mean())


def _hsv(background: Background) -> np.ndarray:
    pixels = background.pixels(8, 8).round().astype(np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV).astype(np.int64)
