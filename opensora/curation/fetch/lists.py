"""The list of addresses, and the list of files that it becomes."""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from opensora.core.errors import TableError
from opensora.curation.fetch.address import Address, address_of
from opensora.curation.fetch.fetch import FAILED, Fetched
from opensora.tables.columns import DETAIL, FETCHED, LICENCE, PATH, STATUS, TEXT
from opensora.tables.io import read_table, with_known_names

_ADDRESSES = ("url", PATH)
_LICENCES = (LICENCE, "license")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Wanted:
    """Rows of a list.

    Attributes:
        wanted: address and sha256 of each that can be fetched, none twice.
        addresses: of each row, in order; the sentence that says what is wrong where it is none.
        licences: of each row.
        texts: of each row; None where the list has no captions.
    """

    wanted: list[tuple[Address, str]]
    addresses: list[Address | str]
    licences: list[str]
    texts: list[str] | None = None


def read_list(path: str | Path) -> Wanted:
    """Read a list of addresses.

    Raises:
        TableError: it is none, or a sha256 in it.
    """
    table = read_table(path)
    column = next((name for name in _ADDRESSES if name in table), None)
    if column is None:
        raise TableError(f"{path}: no column url or path; it has {', '.join(map(str, table))}")
    if table.empty:
        raise TableError(f"{path}: the list has no row")
    digests = [text.strip().lower() for text in _texts(table, ("sha256",))]
    addresses: list[Address | str] = []
    wanted: dict[str, tuple[Address, str]] = {}
    for number, (text, digest) in enumerate(zip(table[column], digests, strict=True), 1):
        if digest and not _SHA256.fullmatch(digest):
            raise TableError(f"{path}: row {number}: {digest[:80]!r} is no sha256")
        try:
            address = address_of(str(text))
        except ValueError as error:
            addresses.append(str(error))
            continue
        addresses.append(address)
        wanted.setdefault(address.name, (address, digest))
    named = with_known_names(table.drop(columns=column))
    texts = _texts(named, (TEXT,)) if TEXT in named else None
    return Wanted(list(wanted.values()), addresses, _texts(table, _LICENCES), texts)


def table_of(rows: Wanted, found: Sequence[Fetched], folder: Path, table: Path) -> pd.DataFrame:
    """A FETCHED table: a row for each of the list, its path from the table's folder."""
    by_name = {one.name: one for one in found}
    start = os.path.relpath(folder, table.parent)
    lines = []
    for number, (address, licence) in enumerate(
        zip(rows.addresses, rows.licences, strict=True), start=1
    ):
        if isinstance(address, str):
            one = Fetched(f"row-{number}", status=FAILED, detail=address)
        else:
            one = by_name[address.name]
        facts = asdict(one)
        name = facts.pop("name")
        url = address.shown if isinstance(address, Address) else ""
        lines.append({PATH: os.path.join(start, name), "url": url, LICENCE: licence, **facts})
    frame = pd.DataFrame(lines)
    ordered = frame[[*FETCHED.columns]].astype({STATUS: str, DETAIL: str})
    return ordered if rows.texts is None else ordered.assign(**{TEXT: rows.texts})


def _texts(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    name = next((name for name in names if name in table), None)
    return [""] * len(table) if name is None else table[name].fillna("").astype(str).tolist()
