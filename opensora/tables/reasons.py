"""Every word that says why a row does not go on: one closed list, and where each word may stand.

`status` of our tables and indexes holds "ok" or one of STATUSES. `reason` of `rejected.csv` holds
one of them as well, one of SELECTION, or a column and one of BOUNDS. Of tables that others made a
column `status` is theirs and says nothing here.
"""

import re
from collections.abc import Iterable

from opensora.core.errors import did_you_mean, shown
from opensora.tables.columns import ASSIGNMENT, LEFT_OUT, NO_VIDEO, OK, REJECTED, STATUS, Table

_OF_FILES = (
    *("missing", "empty_file", "unreadable", "unreadable_name", "not_a_video", "no_video_stream"),
    *("no_frames", "too_large", "no_decoder", "colour_matrix", "changes_shape", "corrupt"),
    *("duplicate", "changed"),
)
_OF_FETCHES = ("fetch_failed", "wrong_hash", "over_limit")
_OF_WORKERS = ("crashed", "timeout", "out_of_memory", "unexpected_error")
_OF_SCENES = ("transition", "too_short", "no_scene", "out_of_range", "overlapping", NO_VIDEO)
_OF_CLIPS = (
    *("too_long", "no_key_frame", "encode_failed", "copy_failed", "sound_unreadable"),
    "unscorable",
)
_OF_CAPTIONS = (
    *("no_caption", "empty_caption", "caption_too_long", "caption_language", "caption_encoding"),
    *("caption_unreadable", "caption_refused", "caption_unfinished", "caption_failed"),
)
_OF_IMPORTS = ("duplicate_id", "bad_value")
_OF_ENCODERS = ("no_class", "no_token", "bad_values")

STATUSES = frozenset(
    (
        *_OF_FILES,
        *_OF_FETCHES,
        *_OF_WORKERS,
        *_OF_SCENES,
        *_OF_CLIPS,
        *_OF_CAPTIONS,
        *_OF_IMPORTS,
        *_OF_ENCODERS,
    )
)
SELECTION = frozenset(
    ("marked_out", "keep_if", "licence_not_allowed", "near_duplicate", "source_cap")
)
BOUNDS = ("_too_low", "_too_high", "_missing")  # behind the name of a column with a bound
PLANNING = frozenset(
    (
        *("too_small", "too_short", "no_image_bucket", "no_video_bucket", "not_kept"),
        *("too_much_crop", "too_few_for_a_batch", "remainder", "beyond_source_share"),
    )
)
_BOUND = re.compile(rf".+({'|'.join(BOUNDS)})", re.DOTALL)
_REASON = "reason"


def unknown_status(words: Iterable[object]) -> tuple[str, str] | None:
    """The first word that no status of ours is, and a sentence about it; None where there is none.

    Args:
        words: cells of a column `status`, each once is enough.
    """
    return _unknown(words, STATUSES | {OK}, f"'{OK}', or a reason that docs/curation.md lists")


def unknown_word(column: str, words: Iterable[object], table: Table) -> tuple[str, str] | None:
    """The same for any column of a table that holds such words; other columns have none."""
    if column == STATUS:
        return unknown_status(words)
    if column != _REASON:
        return None
    if table.name == REJECTED.name:
        left = [word for word in words if not _BOUND.fullmatch(str(word))]
        return _unknown(left, STATUSES | SELECTION, "a reason that docs/curation.md lists")
    if table.name in (ASSIGNMENT.name, LEFT_OUT.name):
        return _unknown(words, PLANNING | {""}, "a reason that docs/buckets.md lists")
    return None


def _unknown(
    words: Iterable[object], known: frozenset[str], expected: str
) -> tuple[str, str] | None:
    strange = next((str(word) for word in words if str(word) not in known), None)
    if strange is None:
        return None
    return strange, f"{shown(strange, 40)!r}; expected {expected}{did_you_mean(strange, known)}"
