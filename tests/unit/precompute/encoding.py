"""The encode commands as functions: a world's clips, captions and a tiny encoder into a folder.

Below the folder lies `store`, which all runs share, and a folder a run with its indexes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.plans.compile import BatchPlan
from opensora.plans.items import plan_items
from opensora.precompute.encode_captions import encode_captions
from opensora.precompute.encode_videos import encode_videos
from opensora.precompute.text_encoding import TextEncoding
from opensora.precompute.video_encoding import VideoEncoding

FP32 = VideoEncoding(dtype="fp32", posterior="mean")
PLAIN = TextEncoding(dtype="fp32")


def encode(
    world: Any,
    folder: Path,
    vae: Any,
    encoding: VideoEncoding = FP32,
    *,
    manifest: pd.DataFrame | None = None,
    plans: dict[str, BatchPlan] | None = None,
    run: str = "run",
    shard: int = 0,
    num_shards: int = 1,
    windows: int = 1,
    pictures: Any = None,
    learned_from: int | None = None,
) -> dict[str, int]:
    """Encode one shard of some stages; `{run}/{stage}/{shard}.parquet` are the indexes."""
    tables, outputs = [], []
    for stage, plan in (plans or {"latents": world.plan}).items():
        interval = int(plan.metadata.get("frame_interval", 1))
        parts = plan_items(
            *(world.manifest if manifest is None else manifest, [plan.items()]),
            frame_interval=interval,
            num_shards=num_shards,
            windows=windows,
        )
        tables.append(parts[shard])
        outputs.append(folder / run / stage / f"{shard:04d}.parquet")
    return encode_videos(
        *(tables, outputs, folder / "store", encoding, lambda: (vae, "cpu")),
        encoder="hash of the encoder",
        load_pictures=None if pictures is None else lambda: pictures,
        learned_from=learned_from,
        shard=shard,
        num_shards=num_shards,
    )


def encode_texts(
    manifest: pd.DataFrame,
    folder: Path,
    text_encoder: Any,
    encoding: TextEncoding = PLAIN,
    *,
    run: str = "run",
    shard: int = 0,
    num_shards: int = 1,
) -> dict[str, Any]:
    """Encode captions; `{run}/texts/{shard}.parquet` is the index."""
    build: Callable[[], Any] = lambda: text_encoder  # noqa: E731
    return encode_captions(
        *(manifest, folder / run / "texts" / f"{shard:04d}.parquet", folder / "store"),
        *(encoding, build),
        encoder="hash of the encoder",
        shard=shard,
        num_shards=num_shards,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def data_files(folder: Path) -> list[Path]:
    """The data files of the store."""
    return sorted((folder / "store").rglob("*.safetensors"))
