"""Whether the rules of a run speak of columns that its scorers write, before any clip is scored."""

from collections.abc import Mapping, Sequence
from typing import Any

from opensora.config.registry import SCORERS, registered_names
from opensora.core.errors import ConfigError, did_you_mean
from opensora.curation.manifest.expressions import Condition
from opensora.curation.manifest.filters import parse_filters
from opensora.curation.manifest.selection import HASH
from opensora.tables.columns import CLIPS, FACTS, LICENCE, MANIFEST, SOURCE_NAME

_OTHERS = ("caption", "num_captions", "seconds", "text", "texts", LICENCE, SOURCE_NAME, "shard")


def check_rules(
    scorers: Sequence[str],
    *,
    filters: Mapping[str, Any],
    keep_if: Sequence[str],
    prefer: str | None = None,
    max_distance: int | None = None,
) -> None:
    """Refuse rules about columns that no stage of the run will write.

    Args:
        scorers: those of the run.
        filters: bounds by column.
        keep_if: conditions.
        prefer: column that decides among duplicates.
        max_distance: whether near-duplicates are dropped.

    Raises:
        ConfigError: names the column, and the scorer that writes it.
    """
    writers = {column: name for name in registered_names(SCORERS) for column in _columns_of(name)}
    written = {column for column, name in writers.items() if name in scorers}
    known = written | {*CLIPS.columns, *MANIFEST.columns, *FACTS, *_OTHERS}
    asked = [("filters", bound.column) for bound in parse_filters(filters)]
    asked += [("keep_if", name) for text in keep_if for name in Condition(text).columns]
    asked += [("prefer", prefer)] if prefer else []
    asked += [("dedup.max_distance", HASH)] if max_distance is not None else []
    for place, column in asked:
        if column in known:
            continue
        if column in writers:
            raise ConfigError(
                f"{place}: column {column!r} is written by the scorer {writers[column]!r}, which is"
                f" not among scorers ({', '.join(scorers)}); add it, or take the rule out"
            )
        hint = did_you_mean(column, [*known, *writers]) or "; take the rule out"
        raise ConfigError(f"{place}: no stage writes a column {column!r}{hint}")


def _columns_of(scorer: str) -> Sequence[str]:
    columns: Sequence[str] = SCORERS.module_dict[scorer].columns
    return columns
