"""What a person says of single clips: a better caption, or that a clip is to stay out.

A small table that belongs to the project and not to a run: `browse` writes it, `build_manifest` and
`import_manifest` read it. A row a clip; an empty cell says nothing.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from opensora.core import limits
from opensora.core.errors import OpenSoraError, TableError, did_you_mean
from opensora.tables.columns import CAPTION, CORRECTIONS, DETAIL, ID, OUT
from opensora.tables.io import read_table, write_table

_DETAIL_CHARACTERS = 1_000


class Outdated(OpenSoraError):
    """A correction was made of what is no longer so: somebody else was faster."""


@dataclass(frozen=True)
class Correction:
    """What is said of one clip.

    Attributes:
        id: of the clip.
        caption: the caption to take instead; "" leaves it as it is.
        mark: "out" keeps the clip out of the manifest; "" does not.
        detail: why, for people.
    """

    id: str
    caption: str = ""
    mark: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        """Refuse what no table should hold.

        Raises:
            TableError: says what and what is expected.
        """
        if not self.id:
            raise TableError("a correction needs the id of a clip")
        if self.mark not in ("", OUT):
            raise TableError(
                f"the mark of {self.id!r} is {self.mark!r}; expected '{OUT}' or nothing"
            )
        for name, most in ((CAPTION, limits.CAPTION_CHARACTERS), (DETAIL, _DETAIL_CHARACTERS)):
            if len(text := getattr(self, name)) > most:
                raise TableError(
                    f"the {name} of {self.id!r} has {len(text):,} characters; at most {most:,} are"
                    " kept"
                )
            if "\0" in text:
                raise TableError(f"the {name} of {self.id!r} holds a zero byte; take it out")

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.caption or self.mark or self.detail)


def read_corrections(path: str | Path) -> dict[str, Correction]:
    """Read a table of corrections, by id in the order of the table.

    Args:
        path: CSV or another table; columns that are missing are empty, but `id`.

    Raises:
        TableError: it is no such table, or says two things of one clip.
    """
    table = read_table(path)
    if strange := [str(name) for name in table if name not in CORRECTIONS.columns]:
        raise TableError(
            f"{path}: a table of corrections has no column {strange[0]!r}; known:"
            f" {', '.join(CORRECTIONS.columns)}{did_you_mean(strange[0], CORRECTIONS.columns)}"
        )
    if ID not in table:
        raise TableError(f"{path}: column 'id' is missing; it names the clips that are corrected")
    found: dict[str, Correction] = {}
    for number, cells in enumerate(table.to_dict("records"), start=1):
        try:
            row = Correction(**{str(name): str(cell) for name, cell in cells.items()})
        except TableError as error:
            raise TableError(f"{path}: row {number}: {error}") from error
        if row.id in found:
            raise TableError(f"{path}: row {number}: {row.id!r} is corrected twice; keep one row")
        found[row.id] = row
    return found


def put_correction(path: str | Path, new: Correction, before: Correction) -> None:
    """Write one correction into the table, which is made where there is none.

    Args:
        path: of the table.
        new: what is said from now on; an empty one takes the row away.
        before: what its writer saw of this clip.

    Raises:
        Outdated: the table says something else by now; the sentence says what.
        TableError: the file is no table of corrections.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        table = read_corrections(path) if path.exists() else {}
        found = table.get(new.id, Correction(new.id))
        if found != replace(before, id=new.id):
            raise Outdated(f"{new.id!r} was corrected by somebody else meanwhile; look at it again")
        table[new.id] = new
        rows = [asdict(row) for row in table.values() if not row.is_empty]
        frame = pd.DataFrame(rows, columns=list(CORRECTIONS.columns))
        write_table(frame, path, CORRECTIONS)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One writer at a time, of the threads and processes of a machine."""
    with path.with_name(f".{path.name}.lock").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
