"""The samples of a stage as cards: player, prompt, and what the detector saw.

Tables name the files, and a table may come from anybody: only files of the run are shown.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from opensora.report.collect import ATTRIBUTES, StageFolder
from opensora.tables.columns import ID, PATH

MAX_CARDS = 240  # per stage; more would make the page slow, and nobody looks at them

_TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
OUTSIDE = "not shown: outside the run"
_GONE = "file not found"
_PIXELATED_BELOW = 128  # pixels: smaller samples show their pixels instead of a blur


@dataclass(frozen=True)
class Chip:
    """One attribute: what the prompt asked for and what the detector saw."""

    wanted: str
    seen: str
    is_right: bool


@dataclass(frozen=True)
class Card:
    """One sample; `url` is a data URL or a relative link, else empty and `absent` says why."""

    prompt: str
    url: str
    absent: str
    is_video: bool
    is_small: bool
    width: int
    height: int
    seed: int
    split: str
    chips: tuple[Chip, ...]


@dataclass
class Budget:
    """Bytes of samples that may still be embedded in the page."""

    left: int

    def take(self, size: int) -> bool:
        """Reserve `size` bytes; False when they no longer fit."""
        if size > self.left:
            return False
        self.left -= size
        return True


def cards(stage: StageFolder, page_dir: Path, budget: Budget) -> list[Card]:
    """Make the cards of a stage, in the order of its table.

    Args:
        stage: its samples and, when they were evaluated, the verdicts.
        page_dir: folder of the HTML file, which relative links start from.
        budget: shared by all stages; the first to be asked is embedded first.
    """
    verdicts = _verdicts(stage.evaluation)
    result = []
    for row in stage.samples.head(MAX_CARDS).to_dict("records"):
        verdict = verdicts.get(str(row[ID]), {})
        file = stage.samples_dir / str(row[PATH])
        is_ours = is_inside(file, stage.places)
        height, width = int(row["height"]), int(row["width"])
        result.append(
            Card(
                prompt=str(row["prompt"]),
                url=_url(file, page_dir, budget) if is_ours else "",
                absent=_GONE if is_ours else OUTSIDE,
                is_video=file.suffix.lower() in {".mp4", ".webm"},
                is_small=max(height, width) < _PIXELATED_BELOW,
                width=width,
                height=height,
                seed=int(row["seed"]),
                split=str(verdict.get("split", "")),
                chips=_chips(verdict),
            )
        )
    return result


def montages(stage: StageFolder, page_dir: Path, budget: Budget) -> list[tuple[str, str]]:
    """One picture per bucket of clips above their reconstructions: bucket and its URL.

    The URL of one that lies outside the run is empty; one that is gone is left out.
    """
    first: dict[str, str | None] = {}
    for report in stage.doctor.values():
        for bucket, facts in report.get("buckets", {}).items():
            if bucket not in first and facts.get("montage"):
                file = stage.latents_dir / facts["montage"]
                is_ours = is_inside(file, stage.places)
                first[bucket] = (_url(file, page_dir, budget) or None) if is_ours else ""
    return [(bucket, url) for bucket, url in sorted(first.items()) if url is not None]


def is_inside(file: Path, places: Sequence[Path]) -> bool:
    """Whether a file lies in one of the folders, which are resolved, once its links are followed.

    One that can not be followed, as a link to itself, does not.
    """
    try:
        resolved = file.resolve()
    except (OSError, RuntimeError, ValueError):
        return False
    return any(resolved.is_relative_to(place) for place in places)


def _verdicts(evaluation: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    following = (evaluation or {}).get("metrics", {}).get("prompt_following", {})
    return {str(verdict["id"]): verdict for verdict in following.get("verdicts", [])}


def _chips(verdict: dict[str, Any]) -> tuple[Chip, ...]:
    detected = verdict.get("detected", {})
    return tuple(
        Chip(wanted, detected.get(name) or "unsure", wanted == detected.get(name))
        for name in ATTRIBUTES
        if (wanted := verdict.get("expected", {}).get(name))
    )


def _url(file: Path, page_dir: Path, budget: Budget) -> str:
    """Embed the file, or link it when the budget is spent."""
    kind = _TYPES.get(file.suffix.lower())
    if kind is None or not file.is_file():
        return ""
    if budget.take(file.stat().st_size):
        return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
    return quote(os.path.relpath(file.resolve(), page_dir.resolve()).replace(os.sep, "/"))
