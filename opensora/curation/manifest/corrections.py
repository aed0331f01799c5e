"""Corrections by hand: captions are replaced before they are joined, marks are set after."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from opensora.core.guard import Guard
from opensora.tables.columns import CAPTION, CORRECTED, DETAIL, ID, OK, OUT, STATUS, TEXT, K
from opensora.tables.corrections import Correction

log = logging.getLogger(__name__)

_MARKED_OUT = "marked_out"
_TAKEN = (CAPTION, TEXT, "text_len", STATUS, DETAIL)
_SHOWN = 3  # ids of no clip that the log names

Corrections = Mapping[str, Correction]


def correct_captions(
    captions: pd.DataFrame, clips: pd.DataFrame, corrections: Corrections
) -> pd.DataFrame:
    """Put corrected captions in place of those that were found.

    A corrected caption is judged and cleaned as every other, and is the only one of its clip. It
    also helps a clip that had none; not one that was marked before captions were looked for.

    Args:
        captions: a CAPTIONS table.
        clips: the CLIPS table of the same clips.
        corrections: by id.

    Returns:
        The table with other captions in the rows of the corrected clips; where clips may have
        several, with a column `corrected` as well.
    """
    texts = {name: row.caption for name, row in corrections.items() if row.caption}
    chosen = clips[clips[ID].isin(texts.keys()) & (clips[STATUS] == OK)]
    rows = _judged(chosen, texts) if len(chosen) else []
    made = pd.DataFrame(rows, columns=[ID, *_TAKEN]).set_index(ID)
    if K in captions:
        others = captions[ID].isin(made.index) & (captions[K].fillna(0) > 0)
        captions = captions[~others].reset_index(drop=True)
    at = captions[ID].isin(made.index)
    if K in captions:
        captions = captions.assign(**{CORRECTED: at})
    if made.empty:
        return captions
    found = made.reindex(captions.loc[at, ID])
    captions = captions.copy()
    for name in _TAKEN:
        captions.loc[at, name] = found[name].to_numpy()
    return captions


def _judged(clips: pd.DataFrame, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row of CAPTIONS for each clip with the text that it is given."""
    # imported here: all captioners come with it, and most runs correct nothing
    from opensora.curation.captions.caption_clips import caption_row

    with Guard("corrections") as guard:
        return [caption_row(guard, clip, texts[clip[ID]], ()) for clip in clips.to_dict("records")]


def mark_out(clips: pd.DataFrame, corrections: Corrections) -> pd.DataFrame:
    """Mark the good clips that are to stay out, as `marked_out`; with the detail."""
    notes = {name: row.detail for name, row in corrections.items() if row.mark == OUT}
    out = clips[ID].isin(notes.keys()) & (clips[STATUS] == OK)
    told = [notes[name] or "marked out by hand" for name in clips.loc[out, ID]]
    detail = clips[DETAIL].mask(out, pd.Series(told, index=clips.index[out], dtype=object))
    return clips.assign(**{STATUS: clips[STATUS].mask(out, _MARKED_OUT), DETAIL: detail})


def correct_rows(rows: pd.DataFrame, corrections: Corrections) -> pd.DataFrame:
    """The same for rows of ready clips, whose texts are not cleaned yet."""
    texts = {name: row.caption for name, row in corrections.items() if row.caption}
    corrected = rows[ID].map(texts).where(rows[STATUS] == OK)
    return mark_out(rows.assign(**{TEXT: corrected.fillna(rows[TEXT])}), corrections)


def account_of(corrections: Corrections | None, ids: Iterable[str]) -> dict[str, Any]:
    """`corrections` for `funnel.json`, {} where there is no table; warns of ids that no clip has.

    Args:
        corrections: by id.
        ids: of all clips of the run.
    """
    if corrections is None:
        return {}
    here = set(ids)
    unknown = [name for name in corrections if name not in here]
    if unknown:
        log.warning(
            "corrections unknown=%d of %d: no clip has these ids, which follow from a video's name"
            " and cut (first: %s)",
            *(len(unknown), len(corrections), ", ".join(unknown[:_SHOWN])),
        )
    known = [row for name, row in corrections.items() if name in here]
    counts = {
        "captions": sum(bool(row.caption) for row in known),
        "out": sum(row.mark == OUT for row in known),
        "unknown": unknown,
    }
    return {"corrections": counts}
