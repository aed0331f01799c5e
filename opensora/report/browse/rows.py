"""What is browsed: one table as it stands, or the clips of a run with all that is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from opensora.core.errors import ConfigError, OpenSoraError, TableError
from opensora.report.footage.candidates import (
    IMPORTED,
    LIMIT,
    candidates,
    even_part,
    ready_clips,
    stage_table,
    with_corrections,
)
from opensora.report.media import is_inside
from opensora.tables.columns import (
    DETAIL,
    ID,
    PATH,
    REJECTED,
    SCENES,
    VIDEOS,
)
from opensora.tables.io import read_table, with_known_names
from opensora.tables.manifest import stacked

CORRECTIONS = Path("mine/corrections.csv")  # where no config names another file
_PARTS = "*.parquet"
_CONFIG = "config.yaml"
_STAGE, _REASON, _SPLIT = "stage", "reason", "split"


@dataclass(frozen=True)
class Rows:
    """A table to look at.

    Attributes:
        name: as the page calls it.
        table: the rows; `id` is there.
        run: the folder of the run that it belongs to, if it belongs to one.
    """

    name: str
    table: pd.DataFrame
    run: Path | None

    @property
    def of_clips(self) -> bool:
        """Whether rows are clips, which can be corrected, and not videos or scenes."""
        names = set(self.table.columns)
        return not any(set(other.columns) <= names for other in (VIDEOS, SCENES))

    def file(self, row: int) -> Path | None:
        """The video or picture of a row: the clip, or what it was cut from; None without one."""
        for name in (PATH, "source"):
            if name in self.table and (told := str(self.table[name].iloc[row])):
                return self._found(Path(told))
        return None

    def are_parts(self) -> np.ndarray:
        """Whether a row speaks of the seconds `start` to `end` of its file, bool [N]."""
        if not {"start", "end", PATH} <= set(self.table.columns):
            return np.zeros(len(self.table), bool)
        if "source" not in self.table:
            return np.ones(len(self.table), bool)
        paths = self.table[PATH]
        return ((paths == "") | (paths == self.table["source"])).to_numpy()

    def _found(self, file: Path) -> Path:
        """A file as tables name it: from where the pipeline was run."""
        if file.is_absolute() or file.is_file() or self.run is None:
            return file
        return self.run.resolve().parent.parent / file


def read_rows(place: Path) -> Rows:
    """Read what is to be browsed.

    Args:
        place: a table of any stage (CSV, Parquet, JSON lines), a folder of its Parquet partitions,
            or the folder of a run, of which all clips are joined.

    Raises:
        OpenSoraError: there is nothing to look at.
    """
    run = next((path for path in (place, *place.absolute().parents) if _is_run(path)), None)
    if any((place / name).is_dir() for name in ("clips", IMPORTED)):
        clips, total = clips_of(place)
        return Rows(_title(f"{place.resolve().name}: clips", len(clips), total), clips, place)
    if place.is_dir():
        table = stage_table(place.parent, place.name)
        if table.empty:
            raise TableError(
                f"{place}: no rows in {_PARTS} of it; give a table, a folder of its partitions,"
                " or results/RUN"
            )
    else:
        table = read_table(place)
    table = with_known_names(table).reset_index(drop=True)
    if ID not in table:
        if PATH not in table:
            raise TableError(f"{place}: has no column 'id' and no column 'path'; is it of clips?")
        table.insert(0, ID, table[PATH])
    name = place.name if run is None else f"{run.resolve().name}: {place.absolute().name}"
    total = len(table)
    if total > LIMIT:
        hashes = pd.util.hash_array(table[ID].astype(str).to_numpy(object))
        table = table[hashes.argsort().argsort() < LIMIT].reset_index(drop=True)
    return Rows(_title(name, len(table), total), table, run)


def _is_run(path: Path) -> bool:
    return (path / _CONFIG).is_file() and path.absolute().parent.name == "results"


def _title(name: str, held: int, total: int) -> str:
    """The name, and how many rows a page holds where it can not hold all."""
    return name if held == total else f"{name}, {held:,} of {total:,}, an even part"


def clips_of(run: Path) -> tuple[pd.DataFrame, int]:
    """The clips of a run with captions, scores, split, and why one is not in the manifest.

    Returns:
        At most `LIMIT` clips, an even part, and how many there are.

    Raises:
        OpenSoraError: the run has no clips, or no captions yet.
    """
    cut, ready = stage_table(run, "clips"), ready_clips(run)
    ids = pd.Index(cut[ID] if len(cut) else []).append(pd.Index(ready[ID]))
    held = even_part(ids)
    clips = candidates(run, held)
    if len(ready):
        clips = stacked([clips, ready[ready[ID].isin(held)]])
    if clips.empty:
        raise OpenSoraError(
            f"{run}: has no clips with captions yet; give one of its tables, such as {run}/clips"
        )
    file, manifest = run / "rejected.csv", stage_table(run, "manifest")
    found = pd.DataFrame(columns=list(REJECTED.columns))
    if file.is_file():
        found = read_table(file, REJECTED).drop_duplicates(ID)
    why = found.set_index(ID).reindex(clips[ID])
    told = {name: why[name].fillna("").to_numpy(object) for name in (_STAGE, _REASON, DETAIL)}
    clips = clips.assign(**told)
    if len(manifest):
        kept = manifest.set_index(ID).reindex(clips[ID])
        clips[_SPLIT] = kept[_SPLIT].fillna("").to_numpy(object)
        clips = with_corrections(clips, manifest)
    return clips, len(ids)


def named_corrections(run: Path | None) -> Path | None:
    """The table of corrections that the config of a run names, if it names one."""
    if run is None:
        return None
    try:
        config = yaml.safe_load((run / _CONFIG).read_text(encoding="utf-8"))
        named = config.get("corrections")
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None
    return run.resolve().parent.parent / named if isinstance(named, str) else None


def choose_corrections(run: Path | None, given: Path | None) -> Path:
    """The file that is written: the one that was given, that of the run's config, or the usual one.

    Raises:
        ConfigError: the config names a file outside of the project; the folder of a run may come
            from anybody.
    """
    named = named_corrections(run)
    if given or run is None or named is None:
        return given or CORRECTIONS
    if not is_inside(named, [run.resolve().parent.parent]):
        raise ConfigError(
            f"{run / _CONFIG}: corrections names {named}, outside of the project; to write there"
            " give --corrections with this path"
        )
    here = Path.cwd()  # as people would write it
    return named.relative_to(here) if named.is_relative_to(here) else named
