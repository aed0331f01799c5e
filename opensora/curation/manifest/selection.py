"""Which scored clips become training data: bounds, conditions, licences, duplicates, caps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.errors import ConfigError
from opensora.curation.manifest.expressions import Condition
from opensora.curation.manifest.filters import apply_filters, check_columns, parse_filters
from opensora.curation.manifest.groups import near_duplicates
from opensora.curation.manifest.of_sources import SourceRules
from opensora.tables.columns import DETAIL, LICENCE, OK, SOURCE_NAME, STATUS

HASH = "phash"  # column of the scorer that near-duplicates are found by


@dataclass(frozen=True)
class Selection:
    """What a clip must be like.

    Attributes:
        filters: `{column: {"min": number, "max": number}}`.
        keep_if: conditions that all must hold, see `expressions.py`.
        licences: allowed values of the column `licence`; None allows all, also unknown ones.
        max_distance: clips whose hashes differ in at most so many bits are near-duplicates, of
            which one stays; None keeps them all.
        max_clips_per_source: clips of one source video; None is no cap.
        prefer: score column of which the largest value stays, among duplicates and under a cap;
            None prefers larger pictures, then longer clips.
        of_sources: sources with filters and keep_if of their own, in place of these.
    """

    filters: Mapping[str, Any] = field(default_factory=dict)
    keep_if: Sequence[str] = ()
    licences: Sequence[str] | None = None
    max_distance: int | None = None
    max_clips_per_source: int | None = None
    prefer: str | None = None
    of_sources: Mapping[str, SourceRules] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a cap that keeps nothing.

        Raises:
            ConfigError: says what is expected.
        """
        cap = self.max_clips_per_source
        if cap is not None and cap < 1:
            raise ConfigError(f"max_clips_per_source is {cap}; expected at least 1")


def select(clips: pd.DataFrame, selection: Selection) -> tuple[pd.DataFrame, np.ndarray]:
    """Mark what is not selected; each step sees what the steps before it left.

    Args:
        clips: good clips with all columns joined.
        selection: the rules.

    Returns:
        The clips with new `status` and `detail`, and each clip's near-duplicate group [N].

    Raises:
        ConfigError: a rule names a column that is not there.
    """
    clips = _apply_rules(clips, selection)
    if selection.licences is not None:
        clips = _apply_licences(clips, selection.licences)
    rank = _rank(clips, selection.prefer)
    groups = _groups(clips, selection.max_distance)
    if selection.max_distance is not None:
        clips = _drop_duplicates(clips, groups, rank)
    if selection.max_clips_per_source is not None:
        clips = _apply_cap(clips, selection.max_clips_per_source, rank)
    return clips, groups


def _apply_rules(clips: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Bounds and conditions, of each source its own where it has some."""
    own = selection.of_sources
    if not own:
        return _bound(clips, selection.filters, selection.keep_if)
    names = clips[SOURCE_NAME].to_numpy(dtype=object)
    status, detail = (clips[name].to_numpy(dtype=object, copy=True) for name in (STATUS, DETAIL))
    for name in dict.fromkeys(names):
        rules, where = own.get(name, selection), names == name
        # without columns that other sources alone have; those of flags are flags again
        part = clips[where].dropna(axis=1, how="all").infer_objects()
        try:
            marked = _bound(part, rules.filters, rules.keep_if)
        except ConfigError as error:
            raise ConfigError(f"source {name}: {error}") from error
        status[where], detail[where] = marked[STATUS], marked[DETAIL]
    return clips.assign(**{STATUS: status, DETAIL: detail})


def _bound(clips: pd.DataFrame, filters: Mapping[str, Any], keep_if: Sequence[str]) -> pd.DataFrame:
    bounds = parse_filters(filters)
    conditions = [Condition(text) for text in keep_if]
    check_columns(bounds, clips)
    clips = apply_filters(clips, bounds)
    for condition in conditions:
        clips = _apply_condition(clips, condition)
    return clips


def _mark(clips: pd.DataFrame, fails: np.ndarray, reason: str, details: Any) -> pd.DataFrame:
    """Give the good rows where `fails` the reason; `details(row position)` is the sentence."""
    status = clips["status"].to_numpy(dtype=object, copy=True)
    detail = clips["detail"].to_numpy(dtype=object, copy=True)
    for position in map(int, np.flatnonzero(fails & (status == OK))):
        status[position], detail[position] = reason, details(position)
    return clips.assign(status=status, detail=detail)


def _apply_condition(clips: pd.DataFrame, condition: Condition) -> pd.DataFrame:
    fails = ~condition.holds(clips)  # also checks that the columns are there
    values = clips[list(condition.columns)].to_dict("records")

    def sentence(position: int) -> str:
        found = ", ".join(f"{name} is {_show(cell)}" for name, cell in values[position].items())
        return f"{condition.shown} does not hold: {found}"

    return _mark(clips, fails, "keep_if", sentence)


def _show(cell: Any) -> str:
    return f"{cell:g}" if isinstance(cell, float) else repr(cell)


def _apply_licences(clips: pd.DataFrame, licences: Sequence[str]) -> pd.DataFrame:
    values = clips[LICENCE].to_numpy(dtype=object)

    def sentence(position: int) -> str:
        found = values[position]
        return f"the licence {found!r} is not among the allowed" if found else "no licence is known"

    return _mark(
        clips, ~clips[LICENCE].isin(list(licences)).to_numpy(), "licence_not_allowed", sentence
    )


def _rank(clips: pd.DataFrame, prefer: str | None) -> np.ndarray:
    """Place of each clip in the order of preference [N]; 0 is the best, ids break ties."""
    keys = {"resolution": False, "num_frames": False}
    if prefer is not None:
        if prefer not in clips or not pd.api.types.is_numeric_dtype(clips[prefer]):
            raise ConfigError(f"prefer: there is no number column {prefer!r} among the scores")
        keys = {prefer: False, **keys}
    order = clips.reset_index(drop=True).sort_values(
        [*keys, "id"], ascending=[*keys.values(), True], na_position="last", kind="stable"
    )
    rank = np.empty(len(clips), dtype=int)
    rank[order.index.to_numpy()] = np.arange(len(clips))
    return rank


def _groups(clips: pd.DataFrame, max_distance: int | None) -> np.ndarray:
    """Near-duplicate groups of the good clips; without hashes each clip is its own."""
    if max_distance is None:
        return np.arange(len(clips))
    if HASH not in clips:
        raise ConfigError(
            "dedup: clips have no hashes to compare; add the scorer 'phash' to scorers"
        )
    good = (clips["status"] == OK).to_numpy()
    return near_duplicates(clips[HASH].where(good, ""), max_distance)


def _drop_duplicates(clips: pd.DataFrame, groups: np.ndarray, rank: np.ndarray) -> pd.DataFrame:
    good = (clips["status"] == OK).to_numpy()
    best = np.full(len(clips), len(clips))
    np.minimum.at(best, groups[good], rank[good])
    ids = clips["id"].to_numpy(dtype=object)
    owner = np.empty(len(clips), dtype=object)
    owner[rank] = ids  # id by place in the order of preference

    def sentence(position: int) -> str:
        return f"looks like {owner[best[groups[position]]]}, which is kept"

    return _mark(clips, good & (rank != best[groups]), "near_duplicate", sentence)


def _apply_cap(clips: pd.DataFrame, cap: int, rank: np.ndarray) -> pd.DataFrame:
    good = (clips["status"] == OK).to_numpy()
    ranks = pd.Series(np.where(good, rank, len(clips)), index=clips.index)
    place = ranks.groupby(clips["video_id"].to_numpy()).rank(method="first").to_numpy()

    def sentence(position: int) -> str:
        return f"its source has more than {cap} clips; this is number {int(place[position])}"

    return _mark(clips, good & (place > cap), "source_cap", sentence)
