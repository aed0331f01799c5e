"""Read the latents or embeddings of a run, by memory map and with as few checks as are safe.

What is checked when: opening a store compares the size of every file; the first use of a file
compares the hash of its header; the first read of a row compares its checksum. Nothing is read
that is not asked for. `Store.verify` checks everything.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.stores.files import as_bytes, checksum, map_tensors
from opensora.stores.index import CHECKSUM, header_hash, read_index
from opensora.tables.columns import DETAIL, ID, OK, STATUS
from opensora.tables.reasons import unknown_status

_MAX_MAPPED_FILES = 8192  # a map holds no file handle; the kernel allows 65530 maps
_OLD_NAME = "index.parquet"  # of the layout before: files and index in one folder


def index_files(root: Path) -> list[Path]:
    """The indexes of a folder, or the one that is given, by name.

    Raises:
        StoreError: there are none, but those of the layout before.
    """
    if root.is_file():
        return [root]
    there = (path for path in root.glob("*.parquet") if not path.name.startswith("."))
    indexes = sorted(path for path in there if path.name != _OLD_NAME)
    old = None if indexes else next(root.rglob(_OLD_NAME), None)
    if old is not None:
        raise StoreError(
            f"{root}: holds {old.relative_to(root)} of the layout before, which kept files and"
            " index in one folder; move it away and run the rule that makes the folder"
        )
    return indexes


class MappedTensor(NamedTuple):
    """A tensor in a file: uint8 [rows, bytes of a row] by memory map, type and shape of a row."""

    rows: np.ndarray
    dtype: torch.dtype
    shape: tuple[int, ...]

    def tensor(self, data: np.ndarray) -> Tensor:
        """View the bytes of n rows, or of one, as a tensor [n, *shape]."""
        return torch.from_numpy(data.reshape(-1)).view(self.dtype).view(-1, *self.shape)


class Store(ABC):
    """The rows of every index in a folder, or of one index.

    Attributes:
        root: the folder, or the index.
        rows: what the indexes say, one row per item that was encoded; `file` is a path.
        rejected: rows of items that could not be encoded, with `status` and `detail`.
        identity: the encoder that wrote all of it.
        file_numbers: int [rows], the file of each row.
        checked: bool [rows], whether the checksum of a row was compared.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        made_by: str,
        columns: Mapping[str, str],
        zeros: Mapping[str, str] = {},
    ) -> None:
        """Read the indexes.

        Args:
            root: folder of indexes, or one of them.
            made_by: the rule that makes them, for error messages.
            columns: columns every index has, with their pandas types.
            zeros: the same of columns that an index may lack, which are 0 then.
        """
        self.root = Path(root)
        self._made_by = made_by
        self._command = f"`opensora {made_by.replace('_', '-')}`"
        self._files: dict[str, dict[str, Any]] = {}
        self._sound: set[int] = set()  # numbers of files whose header was compared
        self._mapped: dict[int, dict[str, MappedTensor]] = {}  # by number of the file
        indexes = index_files(self.root)
        if not indexes:
            raise StoreError(f"{self.root}: holds no index; rule {made_by} makes it")
        self.identity: dict[str, Any] = {}
        frames = [self._read_index(path, columns, zeros) for path in indexes]
        rows = pd.concat(frames, ignore_index=True).astype({**columns, **zeros})
        is_ok = rows[STATUS] == OK
        self.rows: pd.DataFrame = rows[is_ok].drop(columns=[STATUS, DETAIL]).reset_index(drop=True)
        self.rejected: pd.DataFrame = rows[~is_ok].reset_index(drop=True)
        numbers, names = pd.factorize(self.rows["file"])
        self.file_numbers, self._file_names = numbers, list(names)
        self._checksums = self.rows["checksum"].to_numpy()
        self.checked = np.zeros(len(self.rows), dtype=bool)
        for name in self._files:
            self._require_size(name)

    def _read_index(
        self, path: Path, columns: Mapping[str, str], zeros: Mapping[str, str]
    ) -> pd.DataFrame:
        again = f"delete it and run {self._command} again, which finds what is encoded"
        try:
            table, record = read_index(path)
            table = table.assign(**{name: 0 for name in zeros if name not in table})
            rows, files = table[[*columns, *zeros]], record["files"]
            store = (path.resolve().parent / record["store"]).resolve()
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path}: not a readable index of a store; {again}") from error
        if record.get("checksum") != CHECKSUM:
            raise StoreError(f"{path}: has checksums of another version; {again}")
        if found := unknown_status(rows[STATUS].unique()):
            raise StoreError(f"{path}: status is {found[1]}; {again}")
        if not files:
            return rows  # an empty shard knows no encoder that could disagree
        if self.identity:
            require_identity(record["identity"], self.identity, where=path)
        self.identity = record["identity"]
        self._files |= {str(store / name): facts for name, facts in files.items()}
        return rows.assign(file=[str(store / name) if name else "" for name in rows["file"]])

    def require_identity(self, expected: Mapping[str, Any]) -> None:
        """Refuse the store unless the encoder that wrote it agrees with `expected`.

        Raises:
            StoreError: a field of `expected` differs.
        """
        require_identity(self.identity, expected, where=self.root)

    @abstractmethod
    def parts(self, position: int) -> tuple[np.ndarray, ...]:
        """Return the bytes stored for row `position` of `rows`, by memory map, unchecked."""

    def check(self, position: int, parts: Sequence[np.ndarray]) -> None:
        """Compare what `parts` returned with the row's checksum, the first time it is read.

        Raises:
            StoreError: they differ.
        """
        if self.checked[position]:
            return
        if checksum(*parts) != self._checksums[position]:
            name = self._file_names[self.file_numbers[position]]
            raise self.damaged(name, f"the checksum of {self.rows[ID].iat[position]} fails")
        self.checked[position] = True

    def verify(self) -> int:
        """Check the header of every file and every row, also those that were read before.

        Returns:
            Bytes that were checked, rows that several items share counted once.

        Raises:
            StoreError: names the first damaged file.
        """
        self._sound.clear()
        self._mapped.clear()
        self.checked[:] = False
        checked = 0
        for position in self.rows.drop_duplicates(["file", "row"]).index:
            parts = self.parts(position)
            self.check(position, parts)
            checked += sum(part.nbytes for part in parts)
        return checked

    def tensors(self, number: int) -> dict[str, MappedTensor]:
        """Return the memory-mapped tensors of a file.

        Args:
            number: of the file, as `file_numbers` gives it.

        Raises:
            StoreError: the file is missing, cut short, or not what the index describes.
        """
        if number in self._mapped:
            return self._mapped[number]
        name = self._file_names[number]
        self._require_size(name)
        if number not in self._sound:
            if header_hash(Path(name)) != self._files[name]["header"]:
                raise self.damaged(name, "its header differs from the index")
            self._sound.add(number)
        tensors = map_tensors(Path(name))
        if tensors is None:
            raise self.damaged(name, "its header can not be read")
        mapped = {
            key: MappedTensor(as_bytes(tensor, 2), tensor.dtype, tuple(tensor.shape[1:]))
            for key, tensor in tensors.items()
        }
        if len(self._mapped) >= _MAX_MAPPED_FILES:
            del self._mapped[next(iter(self._mapped))]
        self._mapped[number] = mapped
        return mapped

    def _require_size(self, name: str) -> None:
        path, expected = Path(name), self._files[name]["size"]
        if not path.is_file():
            raise self.damaged(name, "the file is missing")
        size = path.stat().st_size
        if size != expected:
            raise self.damaged(name, f"{size} bytes instead of {expected}")

    def damaged(self, name: str, detail: str) -> StoreError:
        """Return the error for a file that is not what the index describes."""
        return StoreError(
            f"{name}: damaged ({detail}); delete it and run {self._command} again, in a workflow"
            f" with --forcerun {self._made_by}: what is missing alone is encoded"
        )

    def doubled(self, what: str) -> StoreError:
        """Return the error for an item that stands twice."""
        names = ", ".join(path.name for path in index_files(self.root))
        return StoreError(
            f"{self.root}: {what} stands twice in its indexes ({names}); delete those of an earlier"
            " number of shards"
        )


def require_identity(found: Mapping[str, Any], expected: Mapping[str, Any], *, where: Path) -> None:
    """Compare two encoder identities field by field.

    Raises:
        StoreError: names the first field of `expected` that differs.
    """
    for name, value in expected.items():
        if found.get(name) != value:
            raise StoreError(
                f"{where}: encoded with {name} {found.get(name)!r}, expected {value!r}; use the"
                " same encoder, or encode again with the other one"
            )
