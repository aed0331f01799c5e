"""Tables of captions: a row for each clip, or for each (id, k) where clips have several.

A clip's captions are numbered from 0, the good ones first, so that k = 0 speaks for the clip: it
has a status other than ok only where none is good. A table without the column k has one a clip.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from opensora.core.errors import TableError
from opensora.tables.columns import (
    CAPTIONS,
    CORRECTED,
    COST,
    ID,
    NUM_CAPTIONS,
    OK,
    STATUS,
    TEXT,
    TOKENS,
    K,
)
from opensora.tables.io import read_table


def first_captions(captions: pd.DataFrame) -> pd.DataFrame:
    """Caption 0 of each clip, in the order of the table."""
    if K not in captions:
        return captions
    return captions[_numbers(captions) == 0].reset_index(drop=True)


def _numbers(captions: pd.DataFrame) -> pd.Series:
    """The column k, 0 where a table has none."""
    if K not in captions:
        return pd.Series(0, index=captions.index)
    return captions[K].fillna(0).astype("int64")


def check_numbers(captions: pd.DataFrame) -> None:
    """Refuse a table in which a clip has a caption of one number twice.

    Raises:
        TableError: names the clip.
    """
    twice = captions[captions.assign(**{K: _numbers(captions)}).duplicated([ID, K])]
    if len(twice):
        row = twice.iloc[0]
        raise TableError(
            f"{CAPTIONS.name}: the id {row[ID]!r} has caption {row.get(K, 0):g} twice; was a shard"
            " given twice?"
        )


def count_good(captions: pd.DataFrame, ids: Iterable[str]) -> pd.Series:
    """Good captions of each clip, int64 by id."""
    good = captions.loc[captions[STATUS] == OK, ID]
    return good.value_counts().reindex(list(ids), fill_value=0).astype("int64")


def sum_replies(captions: pd.DataFrame) -> dict[str, float]:
    """Tokens and cost of all captions that a server wrote; {} for a table without any."""
    counts: dict[str, float] = {
        name: int(captions[name].fillna(0).sum()) for name in TOKENS if name in captions
    }
    if COST not in captions or captions[COST].isna().all():
        return counts
    return {**counts, COST: round(float(captions[COST].fillna(0).sum()), 6)}


def read_all_captions(clips: pd.DataFrame, paths: Sequence[str | Path]) -> pd.DataFrame:
    """The captions of the clips of a manifest, which has caption 0 of each.

    Args:
        clips: id, text and num_captions of clips, each once; and whether they are `corrected`,
            which means that the text is their only one.
        paths: CAPTIONS tables of at least these clips.

    Returns:
        The rows of `clips`, one for each of their good captions, with its text and `k`: clips in
        their order, captions of one in that of k.

    Raises:
        TableError: the tables hold other captions of these clips than the manifest was made of.
    """
    captions = pd.concat([read_table(path, CAPTIONS) for path in paths], ignore_index=True)
    captions = _with_corrected(captions.assign(**{K: _numbers(captions)}), clips)
    captions = captions[(captions[STATUS] == OK) & captions[ID].isin(clips[ID])]
    check_numbers(captions)
    told = clips[NUM_CAPTIONS] if NUM_CAPTIONS in clips else pd.Series(1, index=clips.index)
    texts = captions.loc[captions[K] == 0].set_index(ID)[TEXT].reindex(clips[ID])
    found = count_good(captions, clips[ID]).to_numpy()
    wrong = (found != told.to_numpy()) | (texts != clips[TEXT].to_numpy()).to_numpy()
    if wrong.any():
        place = int(wrong.argmax())
        raise TableError(
            f"{paths[0]}: the captions of {clips[ID].iloc[place]!r} are not those of the manifest"
            f" ({found[place]} there, {told.iloc[place]} here, or another first one); give the"
            " tables that the manifest was made of, or run build_manifest again"
        )
    order = pd.Series(range(len(clips)), index=clips[ID])
    captions = captions.assign(place=order.reindex(captions[ID]).to_numpy())
    captions = captions.sort_values(["place", K], ignore_index=True)
    rows = clips.iloc[captions["place"].to_numpy()].reset_index(drop=True)
    return rows.assign(**{TEXT: captions[TEXT], K: captions[K]})


def _with_corrected(captions: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """The captions, in place of those that a person corrected the manifest's own."""
    if CORRECTED not in clips:
        return captions
    own = clips.loc[clips[CORRECTED], [ID, TEXT]]
    own[STATUS], own[K] = OK, 0
    return pd.concat([captions[~captions[ID].isin(own[ID])], own], ignore_index=True)
