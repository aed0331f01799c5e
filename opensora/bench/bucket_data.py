"""A synthetic manifest of any length, and a published bucket config to try it with."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from opensora.core.seed import derive_seed
from opensora.tables.columns import ID

# Open-Sora 1.1, stage 2: {resolution: {num_frames: (keep probability, clips per micro batch)}}
STAGE_2: dict[str, dict[int, tuple[float, int | None]]] = {
    "144p": {1: (1.0, 48), 16: (1.0, 17), 32: (1.0, 9), 64: (1.0, 4), 128: (1.0, 1)},
    "256": {1: (0.8, 254), 16: (0.5, 17), 32: (0.5, 9), 64: (0.5, 4), 128: (0.5, 1)},
    "240p": {1: (0.1, 20), 16: (0.9, 17), 32: (0.8, 9), 64: (0.8, 4), 128: (0.8, 2)},
    "512": {1: (0.5, 86), 16: (0.2, 4), 32: (0.2, 2), 64: (0.2, 1), 128: (0.0, None)},
    "480p": {1: (0.4, 54), 16: (0.4, 4), 32: (0.0, None)},
    "720p": {1: (0.1, 20), 16: (0.1, 2), 32: (0.0, None)},
    "1024": {1: (0.3, 20)},
    "1080p": {1: (0.4, 8)},
}
FRAME_INTERVAL = 3

# (height, width, share): what web video comes in, and two formats of images
_SIZES = (
    *((240, 426, 0.04), (360, 640, 0.20), (480, 854, 0.12), (720, 1280, 0.26)),
    *((1080, 1920, 0.20), (2160, 3840, 0.02), (1280, 720, 0.05), (1920, 1080, 0.04)),
    *((1024, 1024, 0.04), (512, 512, 0.03)),
)
_IMAGES = 0.2  # share of still images
_MEDIAN_FRAMES, _SPREAD = 120.0, 0.8  # lengths are log-normal: most clips have 2 to 10 seconds
_CROPPED = 0.3  # share of clips whose black bars were cut off: any aspect ratio


def synthetic_manifest(rows: int, *, seed: int = 0) -> pd.DataFrame:
    """Make clips as a crawl of the web would give them.

    Returns:
        id, num_frames, height, width; equal arguments give equal tables.
    """
    rng = np.random.default_rng(derive_seed(seed, "synthetic manifest"))
    shares = np.array([share for *_, share in _SIZES])
    kind = rng.choice(len(_SIZES), size=rows, p=shares / shares.sum()).astype(np.int8)
    height = np.array([size[0] for size in _SIZES], dtype=np.int32)[kind]
    width = np.array([size[1] for size in _SIZES], dtype=np.int32)[kind]
    cut = np.where(rng.random(rows, dtype=np.float32) < _CROPPED, rng.random(rows), 0.0)
    height = (height * (1 - 0.4 * cut)).astype(np.int32)
    frames = np.exp(rng.normal(np.log(_MEDIAN_FRAMES), _SPREAD, rows)).clip(2, 5000)
    frames[rng.random(rows, dtype=np.float32) < _IMAGES] = 1
    numbers = pc.utf8_lpad(pa.array(np.arange(rows)).cast(pa.large_string()), 10, "0")
    first, last, between = (pa.scalar(text, pa.large_string()) for text in ("clip", "000", "_"))
    ids = pc.binary_join_element_wise(first, numbers, last, between)
    return pd.DataFrame(
        {
            ID: pd.Series(pd.array(ids, dtype="str")),
            "num_frames": frames.astype(np.int32),
            "height": height,
            "width": width,
        }
    )
