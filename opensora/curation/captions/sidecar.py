"""Captions that came with the data: tables of captions, or a text file beside each source."""

import ast
import json
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensora.config.registry import CAPTIONERS
from opensora.core.errors import TableError
from opensora.curation.captions.caption_clips import Captioner, Clip
from opensora.tables.clock import seconds_of
from opensora.tables.io import read_table

log = logging.getLogger(__name__)

PANDA_COLUMNS = frozenset({"videoID", "timestamp", "caption"})
MIN_OVERLAP = 0.5  # of the shorter of the two spans; less than this is a neighbour's caption


@dataclass(frozen=True)
class _Span:
    """A text for [start, end) seconds of a source."""

    start: float
    end: float
    text: str


@CAPTIONERS.register_module("sidecar")
class SidecarCaptioner(Captioner):
    """Looks up the caption whose time span shares most with the clip's.

    Args:
        paths: CSV or Parquet tables with the columns `path, text` and, for videos, `start, end`
            in seconds or as h:mm:ss.sss; `path` is relative to the table's folder. Rows with an
            empty start and end speak of the whole file. Tables as Panda-70M has them are read too:
            `videoID` (the file's name without suffix), and lists in `timestamp` and `caption`. With
            no tables, `SOURCE.txt` (one caption for the whole file) or `SOURCE.json` (an object
            with `text`, or a list of objects with `text`, `start`, `end`) beside the source is
            read, SOURCE being its name without the suffix.

    Raises:
        TableError: a table is missing or lacks a column.
    """

    def __init__(self, paths: Sequence[str | Path] = ()) -> None:
        self._tables = [Path(path) for path in paths]
        self._spans: dict[Path, list[_Span]] = defaultdict(list)
        self._by_stem: dict[str, list[_Span]] = defaultdict(list)
        for path in self._tables:
            self._read(path)

    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """Find each clip's text; "" where no span shares at least half of it."""
        return [self._caption(clip) for clip in clips]

    def _caption(self, clip: Clip) -> str:
        if self._tables:
            spans = self._spans.get(clip.source.resolve(), [])
            spans = spans or self._by_stem.get(clip.source.stem, [])
        else:
            spans = _read_beside(clip.source)
        if clip.kind == "image":
            return spans[0].text if spans else ""
        shares = [_share(span, clip) for span in spans]
        best = max(range(len(spans)), key=shares.__getitem__, default=None)
        if best is None or _relative(shares[best], spans[best], clip) < MIN_OVERLAP:
            return ""
        return spans[best].text

    def _read(self, path: Path) -> None:
        table = read_table(path)
        if set(table.columns) >= PANDA_COLUMNS:
            for row in table.to_dict("records"):
                self._by_stem[str(row["videoID"])].extend(_panda_spans(row, path))
        else:
            for name in ("path", "text"):
                if name not in table.columns:
                    raise TableError(
                        f"{path}: captions need a column {name!r}; it has {list(table)}"
                    )
            folder = path.parent.resolve()
            for row in table.to_dict("records"):
                self._spans[(folder / row["path"]).resolve()].append(_span(row, path))
        log.info("caption_clips sidecar=%s rows=%d", path, len(table))


def _read_beside(source: Path) -> list[_Span]:
    text = source.with_suffix(".txt")
    if text.is_file():
        return [_span({"text": text.read_text(encoding="utf-8", errors="replace").strip()}, text)]
    structured = source.with_suffix(".json")
    if not structured.is_file():
        return []
    try:
        found = json.loads(structured.read_text(encoding="utf-8"))
        rows = found if isinstance(found, list) else [found]
        return [_span(row, structured) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(
            f"{structured}: expected an object with 'text', or a list of objects with 'text',"
            f" 'start' and 'end' ({error})"
        ) from error


def _span(row: dict[Any, Any], where: Path) -> _Span:
    """A span from a row; a missing start is 0, a missing end is the end of the file."""
    start, end = (_seconds(row.get(name), where) for name in ("start", "end"))
    return _Span(
        start=0.0 if start is None else start,
        end=math.inf if end is None else end,
        text=str(row["text"]),
    )


def _panda_spans(row: dict[Any, Any], where: Path) -> list[_Span]:
    """The clips of one Panda-70M video: lists of ["0:00:02.6", "0:00:11.6"] and of captions."""
    try:
        times, texts = (ast.literal_eval(str(row[name])) for name in ("timestamp", "caption"))
        return [
            _Span(seconds_of(start) or 0.0, seconds_of(end) or 0.0, str(text))
            for (start, end), text in zip(times, texts, strict=True)
        ]
    except (ValueError, SyntaxError, TypeError) as error:
        raise TableError(
            f"{where}: videoID {row['videoID']!r}: expected as many [start, end] pairs in timestamp"
            f" as texts in caption ({error})"
        ) from error


def _seconds(value: Any, where: Path) -> float | None:
    """Seconds of a cell; None where it is empty."""
    try:
        return seconds_of(value)
    except ValueError as error:
        raise TableError(
            f"{where}: start and end are seconds, or h:mm:ss.sss; {value!r} is neither"
        ) from error


def _share(span: _Span, clip: Clip) -> float:
    """Seconds that a span and a clip have in common."""
    return max(0.0, min(span.end, clip.end) - max(span.start, clip.start))


def _relative(share: float, span: _Span, clip: Clip) -> float:
    shorter = min(span.end - span.start, clip.end - clip.start)
    return share / shorter if shorter > 0 else 0.0
