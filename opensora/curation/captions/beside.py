"""Captions in a file beside each source: what one file holds costs no other source its caption."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opensora.core.io import lines_of
from opensora.core.limits import check_depth
from opensora.core.text_files import TextEncodingError, read_text
from opensora.curation.captions.caption_clips import ENCODING, NoCaption
from opensora.curation.captions.spans import Span, seconds_in
from opensora.tables.columns import SPELLINGS, TEXT

UNREADABLE = "caption_unreadable"


class Beside:
    """Finds SOURCE.txt or SOURCE.json, in capitals or not, and reads it.

    The text goes before the object. A folder is listed once, and the last file is remembered:
    the clips of a source come one after the other.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, dict[tuple[str, str], Path]] = {}
        self._last: tuple[tuple[Path, bool], list[Span] | NoCaption] | None = None

    def spans(self, source: Path, *, lines: bool = False) -> list[Span] | NoCaption:
        """The texts of a source; [] where there is no file, a mark where it holds none.

        Args:
            source: the video or image.
            lines: each line of a text file is a caption, not the whole file one.
        """
        if self._last is None or self._last[0] != (source, lines):
            self._last = ((source, lines), self._read(source, lines))
        return self._last[1]

    def _read(self, source: Path, lines: bool) -> list[Span] | NoCaption:
        files = self._listed(source.parent)
        for suffix, spans_in in _READERS.items():
            path = files.get((source.stem, suffix))
            if path is None or path == source:
                continue
            try:
                text = read_text(path)
                return _each_line(text) if lines and suffix == ".txt" else spans_in(text)
            except TextEncodingError as error:
                return NoCaption(ENCODING, str(error))
            except OSError as error:
                return NoCaption(UNREADABLE, f"{path}: {error.strerror}")
            except (ValueError, RecursionError) as error:
                return NoCaption(UNREADABLE, f"{path}: {error}")
        return []

    def _listed(self, folder: Path) -> dict[tuple[str, str], Path]:
        """Text files and objects of a folder by (stem, suffix in small letters)."""
        if folder not in self._folders:
            found: dict[tuple[str, str], Path] = {}
            # capitals sort first, so that of a.TXT and a.txt the second counts
            for path in sorted(folder.iterdir() if folder.is_dir() else ()):
                if path.suffix.lower() in _READERS and path.is_file():
                    found[path.stem, path.suffix.lower()] = path
            self._folders[folder] = found
        return self._folders[folder]


def _whole(text: str) -> list[Span]:
    return [Span(0.0, float("inf"), text.strip())]


def _each_line(text: str) -> list[Span]:
    lines = [line.strip() for line in lines_of(text) if line.strip()]
    return [Span(0.0, float("inf"), line) for line in lines] or _whole(text)


def _of_objects(text: str) -> list[Span]:
    """The spans of an object, or of a list of them.

    Raises:
        ValueError: it is neither, or one of them has no text.
    """
    if not text.strip():
        raise ValueError("the file is empty")
    check_depth(text)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"no JSON ({error})") from error
    rows = found if isinstance(found, list) else [found]
    return [span for row in rows for span in _of_object(row)]


def _of_object(row: Any) -> list[Span]:
    if not isinstance(row, dict):
        raise ValueError("expected an object with 'text', or a list of such objects")
    name = next((name for name in SPELLINGS[TEXT] if name in row), None)
    if name is None:
        raise ValueError(
            f"an object without one of {', '.join(SPELLINGS[TEXT])}; it has"
            f" {', '.join(sorted(map(str, row))[:5]) or 'nothing'}"
        )
    texts = row[name] if isinstance(row[name], list) else [row[name]]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name!r} is no text: {str(row[name])[:40]!r}")
    start, end = seconds_in(row)
    return [Span(start, end, text) for text in texts]


_READERS: dict[str, Callable[[str], list[Span]]] = {".txt": _whole, ".json": _of_objects}
