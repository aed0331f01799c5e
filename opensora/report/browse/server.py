"""The server of one table: what it sends, and what it writes."""

from __future__ import annotations

import secrets
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opensora.core.errors import ConfigError
from opensora.report.browse.answers import Answer
from opensora.report.browse.page import data_script, packed_rows, static_files
from opensora.report.browse.rows import Rows
from opensora.tables.columns import CAPTION, DETAIL, ID, MARK
from opensora.tables.corrections import Correction, put_correction, read_corrections

HOST = "127.0.0.1"
_FIELDS = (CAPTION, MARK, DETAIL)


class Browser(ThreadingHTTPServer):
    """The server of one table.

    Attributes:
        corrected: corrections that were written while it ran.
    """

    daemon_threads = True

    def __init__(self, rows: Rows, corrections: Path, port: int, named: Path | None = None) -> None:
        """Take the address and make ready what is sent.

        Args:
            rows: the table.
            corrections: file that is written.
            port: 0 for any.
            named: the file that the config of the run names; of another one the page says so.

        Raises:
            ConfigError: the port can not be opened.
            TableError: the file of corrections holds something else.
        """
        self.rows, self.corrections, self.corrected = rows, corrections, 0
        is_named = named is not None and named.resolve() == corrections.resolve()
        self._table = {**packed_rows(rows), "isNamed": is_named}
        self.files = static_files(rows)
        self.ids = frozenset(rows.table[ID])
        self.token = secrets.token_urlsafe(24)
        self.counting = threading.Lock()
        self.data()
        try:
            super().__init__((HOST, port), Answer)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"--port {port}: can not be opened ({error}); give another one, 0 for a free one"
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        """What a person opens; it holds the secret."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def said(self) -> dict[str, Correction]:
        """The corrections as they are now."""
        return read_corrections(self.corrections) if self.corrections.exists() else {}

    def data(self) -> bytes:
        """The script of the table and its corrections."""
        return data_script(self._table, self.said(), self.corrections)

    def correct(self, told: Any) -> Correction:
        """Write what the page says of one clip; returns what is so now.

        Raises:
            OpenSoraError: it can not be meant, or somebody was faster.
        """
        if not isinstance(told, dict) or set(told) != {ID, "before", *_FIELDS}:
            raise ConfigError("a correction has id, caption, mark, detail and what was before")
        before = told["before"]
        if not isinstance(before, dict) or set(before) != set(_FIELDS):
            raise ConfigError("`before` has caption, mark and detail")
        name = told[ID]
        texts = (name, *(part[field] for part in (told, before) for field in _FIELDS))
        if not all(isinstance(text, str) for text in texts):
            raise ConfigError("a correction holds texts alone")
        if name not in self.ids or not self.rows.of_clips:
            raise ConfigError(f"this table has no clip {name!r}")
        new = Correction(name, **{field: told[field].strip() for field in _FIELDS})
        put_correction(
            self.corrections, new, Correction(name, **{field: before[field] for field in _FIELDS})
        )
        with self.counting:
            self.corrected += 1
        return new
