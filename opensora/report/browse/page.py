"""The page: the frame, scripts and styles of the report around one table."""

from __future__ import annotations

import mimetypes
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.report.browse.rows import Rows
from opensora.report.footage.candidates import columns_of, ranges_of
from opensora.report.frame import page_html
from opensora.report.script import packed, script
from opensora.tables.columns import CAPTION, ID, STATUS, TEXT
from opensora.tables.corrections import Correction

POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:"),
        *("media-src 'self'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"),
    )
)
_SCRIPTS = ("core.js", "state.js", "filter.js", "tables.js")
_STYLES = ("style.css", "browse.css")
_DATA = "data/browse.js"
_TAGS = (STATUS, "stage", "reason", "kind", "split", "licence")  # columns of few different words
_MOST_TAGS = 60
_HIDDEN = frozenset({"sha256", "phash", "video_id", "scorer"})  # long, or said by another column


def static_files(rows: Rows) -> dict[str, tuple[str, bytes]]:
    """Everything but data and media: path below the address -> type and content."""
    scripts = [*(f"page/{name}" for name in _SCRIPTS), _DATA, "page/browse.js", "page/start.js"]
    styles = [f"page/{name}" for name in _STYLES]
    html = page_html(rows.name, "browse", policy=POLICY, styles=styles, scripts=scripts)
    found = {"": ("text/html; charset=utf-8", html.encode())}
    for name in (*styles, *scripts):
        if name != _DATA:
            kind = f"{mimetypes.guess_type(name)[0]}; charset=utf-8"
            found[name] = (kind, (files("opensora.report") / name).read_bytes())
    return found


def packed_rows(rows: Rows) -> dict[str, Any]:
    """What the page is told of the table, once: columns, ranges, and what can be filtered by."""
    table = rows.table
    columns = columns_of(table[[name for name in table if name not in _HIDDEN]])
    numbers = [name for name, values in columns.items() if values.dtype.kind in "biuf"]
    parts = rows.are_parts().astype(int)
    return {
        "rows": packed({**columns, "#part": parts}),
        "numbers": numbers,
        "texts": [name for name in columns if name not in (*numbers, ID)],
        "caption": next((name for name in (CAPTION, TEXT) if name in columns), None),
        "ranges": ranges_of(columns),
        "tags": _tags(table),
        "ofClips": rows.of_clips,
    }


def _tags(table: pd.DataFrame) -> dict[str, list[str]]:
    """Columns that can be filtered by as a word -> their words."""
    found = {name: sorted(set(table[name].astype(str)) - {""}) for name in _TAGS if name in table}
    return {name: words for name, words in found.items() if 1 < len(words) <= _MOST_TAGS}


def data_script(shown: dict[str, Any], said: dict[str, Correction], file: Path) -> bytes:
    """The script that holds the table and the corrections as they are now."""
    now = {name: asdict(row) for name, row in said.items()}
    return script("browse", {**shown, "corrections": now, "file": str(file)}).encode()
