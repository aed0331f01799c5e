"""Sources of a run: rules of their own, and ready clips that join those that were cut."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import TableError
from opensora.core.io import read_json
from opensora.core.seal import is_as_sealed
from opensora.tables.columns import (
    DETAIL,
    OK,
    REJECTED,
    SHARD,
    SOURCE_NAME,
    STATUS,
)
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest, stacked, with_facts

DUPLICATE = "duplicate"


@dataclass(frozen=True)
class SourceRules:
    """What a source says itself.

    Attributes:
        filters: `{column: {"min": number, "max": number}}`, in place of the run's.
        keep_if: conditions that all must hold, in place of the run's.
        validation_fraction: share of its videos kept apart; None takes the run's.
    """

    filters: Mapping[str, Any] = field(default_factory=dict)
    keep_if: Sequence[str] = ()
    validation_fraction: float | None = None


@dataclass(frozen=True)
class ReadyClips:
    """What `import-manifest` made of one source.

    Attributes:
        clips: its MANIFEST with `shard`, `seconds`, `kind` and `video_id`.
        rejected: rows of a REJECTED table.
        stages: its part of `funnel.json`.
        num_shards: partitions that it has.
    """

    clips: pd.DataFrame
    rejected: pd.DataFrame
    stages: list[dict[str, Any]]
    num_shards: int


def read_ready(folder: str | Path) -> ReadyClips:
    """Read what `import-manifest --source-name` wrote: `manifest/`, `rejected.csv`, `funnel.json`.

    Raises:
        TableError: one of them is missing or damaged, or names no source.
    """
    place = Path(folder)
    clips = read_manifest(place / "manifest")
    if SOURCE_NAME not in clips:
        raise TableError(f"{place}: its clips have no {SOURCE_NAME}; give import-manifest one")
    try:
        funnel = read_json(place / "funnel.json")
    except (OSError, ValueError) as error:
        raise TableError(f"{place}/funnel.json: can not be read; import it again") from error
    if not is_as_sealed(funnel):
        raise TableError(f"{place}/funnel.json: is damaged; import it again")
    return ReadyClips(
        with_facts(clips).assign(**{STATUS: OK, DETAIL: ""}),
        read_table(place / "rejected.csv", REJECTED),
        funnel["stages"],
        len(list((place / "manifest").glob("[0-9]*.parquet"))),
    )


def mark_known_videos(videos: pd.DataFrame) -> pd.DataFrame:
    """Mark the videos whose bytes an earlier source has: what was cut from them goes with them.

    Args:
        videos: of all sources, in their order.
    """
    good = videos[videos[STATUS] == OK]
    again = good[good["sha256"].duplicated()]
    if again.empty:
        return videos
    first = good.drop_duplicates("sha256").set_index("sha256")
    paths, sources = (first[name].reindex(again["sha256"]) for name in ("path", SOURCE_NAME))
    details = [
        f"same bytes as {path} of the source {source}, which is kept"
        for path, source in zip(paths, sources, strict=True)
    ]
    marked = videos.copy()
    marked.loc[again.index, STATUS] = DUPLICATE
    marked.loc[again.index, DETAIL] = details
    return marked


def with_ready(clips: pd.DataFrame, ready: Sequence[ReadyClips]) -> pd.DataFrame:
    """Put ready clips below those that were cut."""
    return stacked([clips, *(source.clips.drop(columns=SHARD) for source in ready)])


def names_in(ids: pd.Series, names: Iterable[str]) -> pd.Series:
    """The source that each id begins with; "" of what belongs to none."""
    found = ids.astype(str).str.partition("_")[0]
    return found.where(found.isin(list(names)), "")
