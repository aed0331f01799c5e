"""What a bucket cuts away: a clip is scaled to fill the bucket's size, and the rest is cropped."""

from typing import Any

import numpy as np
import numpy.typing as npt

from opensora.core.errors import ConfigError

_TOLERANCE = 1e-9  # a clip that loses just max_crop is kept, whatever the rounding


def cut_share(
    height: npt.ArrayLike, width: npt.ArrayLike, to_height: npt.ArrayLike, to_width: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Return the share of each clip's pixels that lie outside its bucket, 0 to 1.

    Args:
        height: [N] pixels of the clips.
        width: [N] pixels.
        to_height: [N] pixels of their buckets.
        to_width: [N] pixels.
    """
    own, wanted = np.divide(height, width), np.divide(to_height, to_width)
    share: npt.NDArray[np.float64] = 1 - np.minimum(own, wanted) / np.maximum(own, wanted)
    return share


def kept_ratios(height: int, width: int, max_crop: float) -> tuple[float, float]:
    """Return from and below which height / width a clip loses no more than a share in a bucket.

    Args:
        height: pixels of the bucket.
        width: pixels.
        max_crop: share of the clip's pixels, below 1.
    """
    wanted, left = height / width, 1 - max_crop
    return wanted * left * (1 - _TOLERANCE), wanted / left * (1 + _TOLERANCE)


def check_max_crop(value: Any) -> float | None:
    """Return the largest share of a clip's pixels that its bucket may cut away; None is any.

    Raises:
        ConfigError: it is no share.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"max_crop is {value!r}; expected a share from 0 to 1, or None")
    return float(value) if value < 1 else None
