"""Fetch the files of a list once: each is whole and checked, or a row with its reason."""

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from opensora.core.io import not_written, put_first
from opensora.core.log import progress
from opensora.curation.fetch.address import Address
from opensora.curation.fetch.transport import Answer, Passing, Refused, opened
from opensora.tables.columns import OK

log = logging.getLogger(__name__)

FAILED, WRONG, OVER = "fetch_failed", "wrong_hash", "over_limit"
_PART = 1 << 20
_TRIES = 5
_LONGEST_WAIT_S = 60.0
_NOTES = ".fetched.jsonl"
_DEAD_S = 3600.0
_GRACE_S, _LOOK_S = 3.0, 0.05  # for parts under way, once asked to stop


@dataclass(frozen=True)
class Fetched:
    """What became of an address; the first four stand in the notes beside the files."""

    name: str
    bytes: int = 0
    sha256: str = ""
    etag: str = ""
    host: str = ""
    status: str = OK
    detail: str = ""


class _Room:
    """Bytes that may still come."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Take some, if there are so many; a negative number gives back."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True


class _Call:
    """One call of `fetch`; others may fill the same folder at the same time.

    Attributes:
        stop: nobody waits for it any more.
    """

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self.stop = threading.Event()
        self._folder, self._name = folder, uuid.uuid4().hex[:8]
        for part in folder.glob(".*.part"):  # of one that was killed: no other waits for so long
            with contextlib.suppress(OSError):
                if time.time() > part.stat().st_mtime + _DEAD_S + timeout_s:
                    part.unlink()

    def part(self, name: str) -> Path:
        """Where a file is written that is not whole."""
        return self._folder / f".{name}.{self._name}.part"

    def abandon(self, pool: ThreadPoolExecutor) -> None:
        """Leave no part of a file, without waiting for servers that say nothing."""
        self.stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + _GRACE_S
        while (parts := list(self._folder.glob(f".*.{self._name}.part"))) and (
            time.monotonic() < deadline
        ):
            time.sleep(_LOOK_S)
        for part in parts:
            part.unlink(missing_ok=True)


class _OverLimit(Exception):
    """There is no room for it."""


class _Abandoned(Exception):
    """Nobody waits for it any more."""


def fetch(
    wanted: Sequence[tuple[Address, str]],
    folder: Path,
    *,
    limit: int,
    workers: int = 4,
    timeout_s: float = 60.0,
    pause_s: float = 1.0,
) -> list[Fetched]:
    """Fetch files that are not there yet, some at a time.

    Args:
        wanted: address and sha256 of each, "" where that is not known.
        folder: of the files; notes of those that are whole lie in it.
        limit: bytes that the files of this list may take together, those of before among them.
        workers: files at a time.
        timeout_s: seconds without a byte after which a try ends.
        pause_s: seconds before the second try; each later one waits twice as long.

    Raises:
        OpenSoraError: the disk is full, or a package is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known, room, lock = _notes(folder), _Room(limit), threading.Lock()
    call = _Call(folder, timeout_s)

    def one(pair: tuple[Address, str]) -> Fetched:
        address, digest = pair
        before = known.get(address.name)
        if before is not None and (not digest or digest == before.sha256):
            if room.take(before.bytes):
                return before
            return Fetched(address.name, status=OVER, detail=f"{address.shown}: {_full(limit)}")
        got = _Download(address, folder, room, timeout_s, pause_s, call).run(digest, limit)
        if got.status == OK:
            with lock, (folder / _NOTES).open("a", encoding="utf-8") as notes:
                notes.write(json.dumps(asdict(got)) + "\n")
        return got

    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="fetch")
    try:
        return list(progress(pool.map(one, wanted), description="fetch", total=len(wanted)))
    except BaseException:
        call.abandon(pool)
        raise
    finally:
        pool.shutdown(wait=False)


def _full(limit: int) -> str:
    return f"not fetched, for the files would take more than {limit / 1e9:g} GB (--max-gb)"


def _notes(folder: Path) -> dict[str, Fetched]:
    """Files that an earlier fetch finished and that are still whole."""
    found = {}
    try:
        lines = (folder / _NOTES).read_text(encoding="utf-8").split("\n")
    except OSError:
        return {}
    for line in lines:
        try:
            row = Fetched(**json.loads(line))
            if os.path.getsize(folder / row.name) == row.bytes:
                found[row.name] = row
        except (ValueError, TypeError, OSError):
            continue  # cut off, or the file has gone
    return found


class _Download:
    """One file: goes on where a try broke off, as long as the server has the same version."""

    def __init__(
        self,
        address: Address,
        folder: Path,
        room: _Room,
        timeout_s: float,
        pause_s: float,
        call: _Call,
    ) -> None:
        self._address, self._room, self._stop = address, room, call.stop
        self._timeout_s, self._pause_s = timeout_s, pause_s
        self._part = call.part(address.name)
        self._target = folder / address.name
        self._etag, self._host = "", ""
        self._digest, self._got = hashlib.sha256(), 0

    def run(self, digest: str, limit: int) -> Fetched:
        """Try a few times."""
        try:
            for number in range(_TRIES):
                try:
                    self._try()
                    return self._checked(digest)
                except Passing as error:
                    if number == _TRIES - 1:
                        return self._failure(FAILED, f"{error}, {_TRIES} times")
                    wait_s = max(self._pause_s * 2**number, error.wait_s)
                    log.info("fetch again=%s wait_s=%.3g: %s", self._address.shown, wait_s, error)
                    if self._stop.wait(min(wait_s, _LONGEST_WAIT_S)):
                        raise _Abandoned from error
            raise AssertionError("the last try returns")
        except Refused as error:
            return self._failure(FAILED, str(error))
        except _OverLimit:
            return self._failure(OVER, _full(limit))
        finally:
            self._part.unlink(missing_ok=True)

    def _try(self) -> None:
        etag = self._etag
        start = self._got if etag else 0  # without a version nobody knows what goes together
        with opened(self._address, start=start, etag=etag, timeout_s=self._timeout_s) as answer:
            if self._got and (answer.start != self._got or answer.etag != etag):
                self._begin_again()
                if answer.start:
                    raise Passing("the file has changed meanwhile")
            self._etag, self._host = answer.etag, answer.host
            self._copy(answer)

    def _begin_again(self) -> None:
        self._room.take(-self._got)
        self._digest, self._got = hashlib.sha256(), 0

    def _copy(self, answer: Answer) -> None:
        if self._stop.is_set():
            raise _Abandoned
        try:
            file = self._part.open("r+b" if self._got else "wb")
        except OSError as error:
            raise not_written(error, self._part) from error
        with file:
            file.seek(self._got)
            file.truncate()
            while True:
                try:
                    part = answer.body.read(_PART)
                except Exception as error:  # a store's package has errors of its own
                    raise Passing(f"broke off ({type(error).__name__})") from error
                if self._stop.is_set():
                    raise _Abandoned
                if not part:
                    break
                if not self._room.take(len(part)):
                    raise _OverLimit
                self._got += len(part)
                try:
                    file.write(part)
                except OSError as error:
                    raise not_written(error, self._part) from error
                self._digest.update(part)
        if answer.size is not None and self._got != answer.size:
            raise Passing(f"{self._got} of {answer.size} bytes came")
        if not self._got:
            raise Refused("the file is empty")

    def _checked(self, digest: str) -> Fetched:
        found = self._digest.hexdigest()
        if digest and digest != found:
            return self._failure(WRONG, f"its sha256 is {found}, the list says {digest}")
        put_first(self._part, self._target, replace=True)
        return Fetched(self._address.name, self._got, found, self._etag, self._host)

    def _failure(self, status: str, sentence: str) -> Fetched:
        self._room.take(-self._got)
        return Fetched(
            self._address.name, status=status, detail=f"{self._address.shown}: {sentence}"
        )
