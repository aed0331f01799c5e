"""Clips that are held out, which settings of trainers do not speak of."""

import logging
import os
from pathlib import Path

import pandas as pd

from opensora.curation.readers.reader import (
    folders_of,
    layout_of,
    media_in,
    read_clips,
    split_of,
)
from opensora.tables.columns import PATH

log = logging.getLogger(__name__)


def held_out_beside(settings: Path, rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Clips of folders named as held out, beside a folder `train` that settings speak of.

    A trainer is told of what it trains alone; what is held out must not come in as something else.
    """
    folders = {os.path.dirname(name) for name in rows[PATH]}
    places = {os.path.dirname(f) for f in folders if split_of(os.path.basename(f)) == "train"}
    parts = []
    for folder in (inner for place in sorted(places) for inner in folders_of(Path(place))[1:]):
        split = split_of(folder.name)
        if split in ("", "train") or str(folder) in folders or not (clips := media_in(folder)):
            continue
        if layout_of(folder):
            parts.append(read_clips(folder).assign(split=split))
            log.info("%s: %s is taken as %s: %d clips", settings, folder, split, len(parts[-1]))
        else:
            log.warning(
                "%s: %d clips in %s are not in it and have no captions there; they are left out: a"
                " text beside each brings them in",
                *(settings, len(clips), folder),
            )
    return parts
