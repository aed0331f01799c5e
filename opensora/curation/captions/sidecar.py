"""Captions that came with the data: tables of captions, or a text file beside each source."""

import logging
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opensora.config.registry import CAPTIONERS
from opensora.core.errors import TableError
from opensora.curation.captions.beside import Beside
from opensora.curation.captions.caption_clips import Captioner, Clip, NoCaption
from opensora.curation.captions.spans import Span, seconds_in
from opensora.tables.io import read_table, with_known_names
from opensora.tables.public import public_table, video_ids
from opensora.tables.text_tables import first_text, texts_of

log = logging.getLogger(__name__)

MIN_OVERLAP = 0.5  # of the shorter of the two spans; less than this is a neighbour's caption


@CAPTIONERS.register_module("sidecar")
class SidecarCaptioner(Captioner):
    """Looks up the caption whose time span shares most with the clip's.

    Of several captions for one span the first ones count, one or as many as are asked for; the
    others are counted as spare.

    Args:
        paths: CSV or Parquet tables with the columns `path, text` and, for videos, `start, end`
            in seconds or as h:mm:ss.sss; `path` is relative to the table's folder. Rows with an
            empty start and end speak of the whole file. Tables of public sets, whose videos are
            told by their ids, are read too: see `tables/public.py`. With no tables, `SOURCE.txt`
            (one caption for the whole file) or `SOURCE.json` (an object with `text`, or a list of
            objects with `text`, `start`, `end`) beside the source is read, SOURCE being its name
            without the suffix; see `beside.py`. Where several captions are asked for, each line of
            `SOURCE.txt` is one.

    Raises:
        TableError: a table is missing or lacks a column.
    """

    gives_several = True

    def __init__(self, paths: Sequence[str | Path] = ()) -> None:
        self._tables = [_read_table(Path(path)) for path in paths]
        self._spans: dict[Path, list[Span]] = defaultdict(list)
        self._by_stem: dict[str, list[Span]] = defaultdict(list)
        for table in self._tables:
            for source, spans in table.by_source.items():
                self._spans[source].extend(spans)
            for stem, spans in table.by_stem.items():
                self._by_stem[stem].extend(spans)
        self._beside = Beside()
        self._spare, self._most = 0, 1

    def prepare(self, clips: Sequence[Clip]) -> None:
        """A table must speak of a clip, or at least of files that are there: of another shard's.

        Raises:
            TableError: it does not.
        """
        sources = {clip.source.resolve() for clip in clips}
        stems = {name for source in sources for name in video_ids(source)}
        met = [table.meets(sources, stems) for table in self._tables]
        for table, meets in zip(self._tables, met, strict=True):
            if not meets and not (table.has_files() if table.by_source else any(met)):
                raise TableError(table.complaint(sources))

    def caption(self, clips: Sequence[Clip]) -> list[str | NoCaption]:
        """Find each clip's text; "" where no span shares at least half of it."""
        return [texts[0] for texts in self.captions(clips, 1)]

    def captions(self, clips: Sequence[Clip], most: int) -> list[list[str | NoCaption]]:
        """Find each clip's texts, up to `most`; "" where no span shares at least half of it."""
        self._most = most
        return [self._texts(clip) for clip in clips]

    def remarks(self) -> list[str]:
        """How many captions no clip got because it got others."""
        which = "the first of a span counts"
        if self._most > 1:
            which = f"the first {self._most} of a span count"
        return [f"{self._spare} captions are spare: {which}"] * bool(self._spare)

    def _texts(self, clip: Clip) -> list[str | NoCaption]:
        if self._tables:
            spans = self._spans.get(clip.source.resolve(), [])
            for name in () if spans else video_ids(clip.source):
                spans = spans or self._by_stem.get(name, [])
        else:
            found = self._beside.spans(clip.source, lines=self._most > 1)
            if isinstance(found, NoCaption):
                return [found]
            spans = found
        best = _best(spans, clip)
        if best is None:
            return [""]
        texts = [span.text for span in spans if (span.start, span.end) == (best.start, best.end)]
        self._spare += max(0, len(texts) - self._most)
        return [*texts[: self._most]]


class _Table(NamedTuple):
    """A table of captions, by resolved source or by the source's name without its suffix."""

    path: Path
    by_source: dict[Path, list[Span]]
    by_stem: dict[str, list[Span]]

    def meets(self, sources: set[Path], stems: set[str]) -> bool:
        """Whether one of its rows speaks of one of these."""
        return not sources.isdisjoint(self.by_source) or not stems.isdisjoint(self.by_stem)

    def has_files(self) -> bool:
        """Whether one of its paths is a file."""
        return any(map(os.path.isfile, self.by_source))  # False of what can be no name

    def complaint(self, sources: set[Path]) -> str:
        """Says that none of its rows is of use."""
        names = [str(name) for name in (*self.by_source, *self.by_stem)]
        if not names:
            return f"{self.path}: the table has no row"
        what = "paths is a file or the source of a clip; they start from the table's folder"
        if self.by_stem:
            what = "videoIDs is the name, without suffix, of a source"
        return (
            f"{self.path}: none of its {len(names)} {what}; the first is {names[0]},"
            f" a source is {min(map(str, sources))}"
        )


def _read_table(path: Path) -> _Table:
    table = read_table(path, keep_lists=True)
    found = _Table(path, defaultdict(list), defaultdict(list))
    if public := public_table(table.columns):
        for row in table.to_dict("records"):
            try:
                spans = public.spans_of(row)
            except ValueError as error:
                raise TableError(f"{path}: {error}") from error
            found.by_stem[public.video_of(row)].extend(
                Span(span.start, math.inf if span.end is None else span.end, span.text)
                for span in spans
            )
    else:
        table = with_known_names(table)
        for name in ("path", "text"):
            if name not in table.columns:
                raise TableError(f"{path}: captions need a column {name!r}; it has {list(table)}")
        folder = path.parent.resolve()
        table["path"] = table["path"].map(first_text)
        named = table["path"].map(lambda name: "\0" not in name)  # no file has such a name
        if not named.all():
            log.warning("caption_clips sidecar=%s rows=%d hold a zero byte", path, (~named).sum())
        for row in table[named].to_dict("records"):
            found.by_source[(folder / row["path"]).resolve()].extend(_spans(row, path))
    log.info("caption_clips sidecar=%s rows=%d", path, len(table))
    return found


def _spans(row: dict[Any, Any], where: Path) -> list[Span]:
    """The texts of a row, several where JSON or Parquet has a list of them."""
    try:
        start, end = seconds_in(row)
    except ValueError as error:
        raise TableError(f"{where}: {error}") from error
    return [Span(start, end, text) for text in texts_of(row["text"]) or [""]]


def _best(spans: Sequence[Span], clip: Clip) -> Span | None:
    """The span that shares most with a clip, the first of equal ones; None below `MIN_OVERLAP`."""
    if clip.kind == "image":
        return spans[0] if spans else None
    shares = [_share(span, clip) for span in spans]
    best = max(range(len(spans)), key=shares.__getitem__, default=None)
    if best is None or _relative(shares[best], spans[best], clip) < MIN_OVERLAP:
        return None
    return spans[best]


def _share(span: Span, clip: Clip) -> float:
    """Seconds that a span and a clip have in common."""
    return max(0.0, min(span.end, clip.end) - max(span.start, clip.start))


def _relative(share: float, span: Span, clip: Clip) -> float:
    shorter = min(span.end - span.start, clip.end - clip.start)
    return share / shorter if shorter > 0 else 0.0
