"""Clips as files in folders, with captions beside them or in tables, as other trainers read them.

Every function writes one folder, whole or not at all. `{split}/{id}.mp4` is a clip; ids are checked
before anything is written.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.core.errors import ConfigError, TableError
from opensora.core.io import atomic_path
from opensora.core.log import progress
from opensora.curation.export.dataset_card import CARD, dataset_card, splits_of
from opensora.curation.export.frames import assign_counts, choose_counts, choose_size, frames_at
from opensora.curation.export.latents import write_cache
from opensora.curation.export.names import (
    DEFAULT_SUFFIX,
    SPLIT,
    absolute,
    as_written,
    check_names,
    suffix_of,
    without_places,
)
from opensora.curation.export.precomputed import write_precomputed
from opensora.curation.export.trainers import NO_IMAGES, TRAINERS, Trained, as_json
from opensora.tables.checks import TRAIN
from opensora.tables.columns import CAPTION, DETAIL, ID, PATH, SOURCE_NAME, TEXT

log = logging.getLogger(__name__)

_COPIES = 4  # at a time: one waits for the disk while another is opened
LEFT_OUT = "left_out.csv"


@dataclass(frozen=True)
class Choice:
    """What the user says of shapes; None is chosen for the clips at hand.

    Attributes:
        frames: counts of frames to train on.
        size: height and width in pixels.
        fps: rate at which the trainer samples frames; None is each clip's own.
        card: Markdown that describes the data, for the layouts that hold a card.
        latents: index, or folder of them, of latents to hand over.
    """

    frames: Sequence[int] | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None
    card: str = ""
    latents: Path | None = None


def export_folder(
    manifest: pd.DataFrame,
    folder: Path,
    layout: str,
    *,
    copy: bool = True,
    choice: Choice = Choice(),
) -> pd.DataFrame:
    """Write clips, captions and the tables of a layout.

    Args:
        manifest: a MANIFEST table.
        folder: is made; must be empty if it is there.
        layout: a key of LAYOUTS.
        copy: copy the clips; otherwise the tables name the files where they stand.
        choice: shapes, for the layouts of trainers.

    Returns:
        Rows that the trainer could not take, with `detail`; they stand in left_out.csv too.

    Raises:
        TableError: a name that is no file name, a missing clip, or a folder that holds files.
        ConfigError: a choice that the layout does not take.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise TableError(f"{folder}: holds files already; export into an empty folder")
    check_names(manifest, without_dots=True)
    write = LAYOUTS[layout] if choice.latents is None else _with_latents(layout)
    if not copy and layout in _IN_FOLDERS:
        raise ConfigError(
            f"--media none: {layout} finds clips by their folder; leave it out, or take a"
            " format with a table: jsonl, musubi"
        )
    names = sorted(set(manifest.get(SOURCE_NAME, [])) - {""})
    if len(names) > 1:
        log.warning(
            "export: weight and repeat of sources (%s) do not go out, each clip counts once",
            ", ".join(names),
        )
    rows = manifest.sort_values([SPLIT, ID], ignore_index=True)
    rows = rows.assign(caption=as_written(rows), **{DETAIL: ""})
    with atomic_path(folder, folder=True) as temporary:
        rows = _placed(rows, folder, copy=copy)
        left = write(Place(temporary, folder.absolute()), rows, choice)
        if layout == _TRAINS_ALONE:
            left = _held_out(Place(temporary, folder.absolute()), rows, left, copy=copy)
        kept = rows[~rows[ID].isin(left[ID])]
        if copy:
            _copy(kept, temporary)
        if len(left):
            left[[ID, PATH, DETAIL]].to_csv(temporary / LEFT_OUT, index=False)
    return left


@dataclass(frozen=True)
class Place:
    """Where a layout is written now, and where it will stand."""

    now: Path
    then: Path


def _placed(rows: pd.DataFrame, folder: Path, *, copy: bool) -> pd.DataFrame:
    """The rows with `file`: the clip within the folder, or where it stands."""
    if not copy:
        return rows.assign(file=absolute(rows[PATH]))
    names = [
        f"{split}/{name}{suffix_of(path) or DEFAULT_SUFFIX}"
        for split, name, path in zip(rows[SPLIT], rows[ID], rows[PATH], strict=True)
    ]
    return rows.assign(file=names)


def _held_out(place: Place, rows: pd.DataFrame, left: pd.DataFrame, *, copy: bool) -> pd.DataFrame:
    """Give clips that no table names their captions; returns what is left out, which grows by them.

    It does where clips are not copied, for then nothing would say that they are there.
    """
    held_out = rows[(rows[SPLIT] != TRAIN) & ~rows[ID].isin(left[ID])]
    if copy:
        _captions_beside(place, held_out)
        return left
    details = [f"{split}: the trainer reads clips of training alone" for split in held_out[SPLIT]]
    return pd.concat([left, held_out.assign(**{DETAIL: details})])


def _copy(rows: pd.DataFrame, folder: Path) -> None:
    for split in rows[SPLIT].unique():
        (folder / str(split)).mkdir(exist_ok=True)

    def one(pair: tuple[str, str]) -> None:
        try:
            shutil.copyfile(pair[0], folder / pair[1])
        except FileNotFoundError as error:
            raise TableError(
                f"{pair[0]}: {error.strerror}; the manifest names this clip: run split_clips again"
            ) from error

    with ThreadPoolExecutor(_COPIES, thread_name_prefix="export") as pool:
        pairs = list(zip(rows[PATH].map(str), rows["file"], strict=True))
        for _ in progress(pool.map(one, pairs), description="export", total=len(pairs)):
            pass


def _captions_beside(place: Place, rows: pd.DataFrame) -> None:
    for split in rows[SPLIT].unique():
        (place.now / str(split)).mkdir(exist_ok=True)
    folder = str(place.now)
    for name, text in zip(rows["file"], rows[CAPTION], strict=True):
        with open(f"{folder}/{os.path.splitext(name)[0]}.txt", "w", encoding="utf-8") as file:
            file.write(f"{text}\n")


def _lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    text = "".join(f"{as_json(record)}\n" for record in records)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _facts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each row the columns that say something, as JSON knows them."""
    unknown = (*(PATH, TEXT, CAPTION, DETAIL, SPLIT), "file", "frames")
    columns = []
    for name in rows.columns:
        if name not in unknown:
            cells = rows[name].astype(object)
            columns.append((str(name), cells.where(cells.notna() & (cells != ""), None).tolist()))
    names = [name for name, _ in columns]
    return [
        {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
        for cells in zip(*(cells for _, cells in columns), strict=True)
    ]


def _folder(place: Place, rows: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    _captions_beside(place, rows)
    return rows.iloc[:0]


def _jsonl(place: Place, rows: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    for split, part in rows.groupby(SPLIT):
        _lines(
            place.now / f"{split}.jsonl",
            (
                {PATH: file, TEXT: text, **facts}
                for file, text, facts in zip(part["file"], part[CAPTION], _facts(part), strict=True)
            ),
        )
    return rows.iloc[:0]


def _videofolder(place: Place, rows: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """As `load_dataset("videofolder", data_dir=...)` reads it: one metadata.jsonl a split."""
    left = rows[rows["num_frames"] == 1].assign(**{DETAIL: NO_IMAGES})
    kept = without_places(rows.drop(left.index))
    patterns = {split: f"{split}/*" for split in splits_of(kept)}
    (place.now / CARD).write_text(dataset_card(kept, choice.card, patterns), encoding="utf-8")
    for split, part in kept.groupby(SPLIT):
        _lines(
            place.now / str(split) / "metadata.jsonl",
            (
                {"file_name": os.path.basename(file), TEXT: text, **facts}
                for file, text, facts in zip(part["file"], part[CAPTION], _facts(part), strict=True)
            ),
        )
    return left


def _of_trainer(name: str) -> Callable[[Place, pd.DataFrame, Choice], pd.DataFrame]:
    trainer = TRAINERS[name]

    def write(place: Place, rows: pd.DataFrame, choice: Choice) -> pd.DataFrame:
        frames = frames_at(rows, choice.fps)
        slow = (rows["num_frames"] > 1) & (rows["fps"] < (choice.fps or 0.0))
        still = (rows["num_frames"] == 1) & (not trainer.images)
        counts = list(choice.frames or choose_counts(frames[~slow], trainer.shapes))
        trainer.shapes.check(counts)
        if choice.size:
            trainer.shapes.check_size(choice.size)
        rows = rows.assign(frames=assign_counts(frames, counts))
        least = min(counts, default=1 + trainer.shapes.frame_step)
        short = rows["frames"] == 0
        rows.loc[short, DETAIL] = [
            f"{n} frames, below {least}, the least that is trained" for n in frames[short]
        ]
        rows.loc[slow, DETAIL] = [
            f"{fps:g} frames a second, fewer than --fps" for fps in rows["fps"][slow]
        ]
        rows.loc[still, DETAIL] = NO_IMAGES
        left = rows[short | slow | still]
        kept = rows.drop(left.index)
        if kept.empty:
            raise TableError(
                f"export: none of {len(left)} clips can be trained there;"
                f" the first: {left[DETAIL].iloc[0]}"
            )
        size = choice.size or choose_size(kept, trainer.shapes)
        trained = Trained(place.then, tuple(counts), size, choice.fps)
        if trainer.captions_beside:
            _captions_beside(place, kept)
        for file, text in trainer.files(kept, trained).items():
            path = place.now / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return left

    return write


def _with_latents(layout: str) -> Callable[[Place, pd.DataFrame, Choice], pd.DataFrame]:
    def write(place: Place, rows: pd.DataFrame, choice: Choice) -> pd.DataFrame:
        assert choice.latents is not None  # else it is another layout
        return WITH_LATENTS[layout](rows, choice.latents, place.now, place.then)

    return write


LAYOUTS: dict[str, Callable[[Place, pd.DataFrame, Choice], pd.DataFrame]] = {
    "folder": _folder,
    "jsonl": _jsonl,
    "videofolder": _videofolder,
    **{name: _of_trainer(name) for name in TRAINERS},
}
WITH_LATENTS = {"musubi": write_cache, "ltx": write_precomputed}
_TRAINS_ALONE = "musubi"  # its tables name no clip that is held out
# LTX's trainers name what they precompute by the path of a clip from its table on
_IN_FOLDERS = frozenset({"folder", "videofolder", "diffusion-pipe", "finetrainers", "ltx"})
