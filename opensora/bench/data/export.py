"""Export of many rows without media, format by format, against `cp` of the files that came out."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opensora.bench.measure import Stopwatch, machine
from opensora.core.errors import OpenSoraError
from opensora.core.seed import derive_seed
from opensora.core.terminal import align, short
from opensora.curation.export.folders import export_folder
from opensora.curation.export.formats import Shards, export_parquet
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table

FORMATS = ("csv", "parquet", "jsonl", "musubi")  # those that take --media none
GOAL = 0.8  # of the speed of cp
_WORDS = ("a", "red", "car", "turns", "slowly", "left", "on", "wet", "road", "at", "night", "rain")
_CARD = "# Video clips\n"


def bench_export(rows: int, formats: Sequence[str] = FORMATS) -> dict[str, Any]:
    """Write a made manifest in each format.

    Args:
        rows: of the manifest; its captions have 8 to 40 words and six columns are scores.
        formats: of FORMATS.

    Returns:
        `machine`, `rows` and `formats`: name -> seconds, cpu_seconds, bytes, cp_s (of `cp -r`
        of the result), cp_cpu_s, and `speed`: cp_s / seconds.

    Raises:
        OpenSoraError: `cp` failed.
    """
    manifest = make_manifest(rows)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="opensora-bench-") as name:
        for kind in formats:
            out = Path(name) / kind
            with Stopwatch() as watch:
                _export(manifest, kind, out)
            with Stopwatch() as plain:
                _copy(out, Path(name) / f"{kind}-copy")
            found[kind] = {
                "seconds": watch.seconds,
                "cpu_seconds": watch.cpu_seconds,
                "bytes": _bytes(out),
                "cp_s": plain.seconds,
                "cp_cpu_s": plain.cpu_seconds,
                "speed": plain.seconds / watch.seconds,
            }
    return {"machine": machine(), "rows": rows, "formats": found}


def make_manifest(rows: int) -> pd.DataFrame:
    """A MANIFEST table of clips that are not there."""
    rng = np.random.default_rng(derive_seed("bench", "export"))
    words = rng.choice(_WORDS, (rows, 40))
    lengths = rng.integers(8, 41, rows)
    texts = [" ".join(row[:length]) for row, length in zip(words, lengths, strict=True)]
    ids = [f"video{k // 8:06d}-{k % 8:04d}" for k in range(rows)]
    start = rng.uniform(0, 600, rows).round(3)
    table = pd.DataFrame(
        {
            "id": ids,
            "path": [f"/data/clips/{k % 256:02x}/{name}.mp4" for k, name in enumerate(ids)],
            "text": texts,
            "caption": [f"{text.capitalize()}." for text in texts],
            "num_frames": rng.choice([33, 49, 81, 121], rows),
            **{"width": 848, "height": 480, "aspect_ratio": 480 / 848, "resolution": 848 * 480},
            "text_len": lengths,
            **{"fps": 24.0, "source": [f"/data/videos/video{k // 8:06d}.mp4" for k in range(rows)]},
            **{"start": start, "end": start + 4},
            "sha256": [rng.bytes(32).hex() for _ in range(rows)],
            "split": np.where(np.arange(rows) % 20, "train", "validation"),
        }
    )
    scores = {f"score{k}": rng.uniform(0, 10, rows).round(6) for k in range(6)}
    return table.assign(**scores)


def _export(manifest: pd.DataFrame, kind: str, out: Path) -> None:
    if kind == "csv":
        write_table(manifest, out / "manifest.csv", MANIFEST)
    elif kind == "parquet":
        export_parquet(manifest, out, Shards(clips=100_000), _CARD, copy=False)
    else:
        export_folder(manifest, out, kind, copy=False)


def _copy(source: Path, goal: Path) -> None:
    done = subprocess.run(["cp", "-r", str(source), str(goal)], capture_output=True, text=True)
    if done.returncode:
        raise OpenSoraError(f"bench export: cp failed: {done.stderr.strip()}")


def _bytes(folder: Path) -> int:
    return sum(
        os.path.getsize(os.path.join(place, name))
        for place, _, names in os.walk(folder)
        for name in names
    )


def export_table(found: dict[str, Any]) -> str:
    """One row a format."""
    titles = ("format", "rows/s", "seconds", "CPU s", "bytes", "cp s", "speed of cp")
    rows = [
        (
            name,
            f"{found['rows'] / figures['seconds']:,.0f}",
            f"{figures['seconds']:.2f}",
            f"{figures['cpu_seconds']:.2f}",
            short(figures["bytes"], "B"),
            f"{figures['cp_s']:.2f}",
            f"{figures['speed']:.2f}",
        )
        for name, figures in found["formats"].items()
    ]
    return align(titles, rows)


def export_summary(found: dict[str, Any]) -> str:
    """One line."""
    slowest = min(found["formats"], key=lambda name: found["formats"][name]["speed"])
    speed = found["formats"][slowest]["speed"]
    return (
        f"{found['rows']:,} rows; the slowest format, {slowest}, has {speed:.2f} of the speed of cp"
        f" (goal {GOAL}) ({found['machine']})"
    )
