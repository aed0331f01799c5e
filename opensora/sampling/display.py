"""From the decoder's numbers to frames that a person can look at."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opensora.sampling.settings import Resize


def to_uint8(video: Tensor) -> np.ndarray:
    """Turn [3, T, H, W] in [-1, 1] into uint8 frames [T, H, W, 3]; values outside are clipped."""
    levels = (video.float().clamp(-1, 1) + 1) * 127.5  # [3, T, H, W], 0..255
    return levels.add(0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()


def enlarge(frames: np.ndarray, short_side: int | None, method: Resize) -> np.ndarray:
    """Enlarge frames for display; frames that are large enough stay as they are.

    Args:
        frames: uint8 [T, H, W, 3].
        short_side: wished short side in pixels; None keeps the size.
        method: "nearest" repeats pixels by the largest whole factor that stays within
            short_side; "lanczos" reaches short_side exactly.

    Returns:
        uint8 [T, H', W', 3].
    """
    height, width = frames.shape[1:3]
    if short_side is None or short_side <= min(height, width):
        return frames
    if method == "nearest":
        factor = short_side // min(height, width)
        return frames.repeat(factor, axis=1).repeat(factor, axis=2)
    scale = short_side / min(height, width)
    size = (round(width * scale), round(height * scale))  # PIL wants (width, height)
    resized = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames]
    return np.stack([np.asarray(image) for image in resized])
