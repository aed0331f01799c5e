"""Whole files or none: everything is written beside its target and renamed at the end."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from opensora.core.errors import OpenSoraError, shown

NOT_WRITTEN = "could not be written"
_REMEMBERED = 1 << 14  # files of which one process keeps the hash
_ODD_BREAKS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")
_CHUNK_BYTES = 1 << 20
_LONGEST_CAUSE = 200  # characters of what a library says of an error of writing
_PRIVATE, _SHARED, _USUAL_UMASK = 0o600, 0o666, 0o022
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OF_WRITING = _FULL | {errno.EROFS}
# what libraries say that keep no number: of torch's and safetensors' writers
_WORDS_OF_WRITING = (
    *("No space left on device", "File too large", "Disk quota exceeded"),
    *("Read-only file system", "PytorchStreamWriter failed", "iostream error"),
    "unexpected pos",  # of the archive that torch writes, where the disk took less than was given
)
# what file systems without hard links say: FAT, some network and user-space ones
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextmanager
def atomic_path(path: str | Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; put it in place on success, remove it on failure.

    The temporary name keeps the suffix of the target, so writers that look at it work.

    Args:
        path: the final file or folder; an existing one is replaced.
        folder: yield an empty folder instead of a free file name.

    Raises:
        OpenSoraError: the disk is full or the place is not writable.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem[:80]}.{uuid.uuid4().hex[:8]}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            temporary.mkdir()
    except OSError as error:
        raise not_written(error, target) from error
    try:
        yield temporary
        for file in temporary.rglob("*") if folder else [temporary]:
            share_rights(file)
        if folder and target.is_dir():
            _replace_folder(temporary, target)
        else:
            os.replace(temporary, target)
    except OpenSoraError:  # it has its sentence
        raise
    except Exception as error:  # torch raises RuntimeError, safetensors a class of its own
        # a full disk, or this very file can not be made; other faults are the caller's
        if is_of_writing(error) or getattr(error, "filename", None) == str(temporary):
            raise not_written(error, target) from error
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _replace_folder(made: Path, target: Path) -> None:
    """Put a folder in the place of one that is removed, which comes back if that fails."""
    before = made.with_name(f"{made.name}.before")
    os.rename(target, before)
    try:
        os.replace(made, target)
    except BaseException:
        os.rename(before, target)  # if that fails as well it stays under its other name
        raise
    shutil.rmtree(before, ignore_errors=True)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Make a folder for what is not finished, and remove it with all that is in it.

    Raises:
        OpenSoraError: the disk is full or the place is not writable.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(error, path) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def put_first(made: Path, target: Path, *, replace: bool = False) -> bool:
    """Move a finished file to a name that others may give the same content; the first stays.

    A hard link is the one step that makes a name or fails because it is there, also between
    machines on NFS: a rename replaces without a word, and to ask before it leaves a gap. (An NFS
    client that repeats a link whose answer was lost is told that the name is there; then it is this
    very file.) Where a file system has no hard links a rename has to do: it never leaves half a
    file, and whoever reads the one that it replaces goes on reading that.

    Args:
        made: a file on the same file system; it is gone afterwards.
        target: where it shall be; folders above are made.
        replace: what stands there is damaged and goes.

    Returns:
        Whether it is this file that stands there now.

    Raises:
        OpenSoraError: the disk is full or the place is not writable.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not replace:
            try:
                os.link(made, target)
                return True
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
        os.replace(made, target)
        return True
    except OSError as error:
        raise not_written(error, target) from error
    finally:
        made.unlink(missing_ok=True)


def is_of_writing(error: BaseException) -> bool:
    """Whether an error says that something could not be written, whatever library raised it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _OF_WRITING
    # torch raises RuntimeError, safetensors a class of its own
    return any(words in str(error) for words in _WORDS_OF_WRITING)


def share_rights(file: Path) -> None:
    """Give a file that its writer kept private, as safetensors does, the rights of the umask."""
    if file.is_file() and stat.S_IMODE(file.stat().st_mode) == _PRIVATE:
        file.chmod(_SHARED & ~_umask())


def _umask() -> int:
    """The umask of this process; asking the system for it would set it for all threads."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _USUAL_UMASK
    found = next((line for line in status.splitlines() if line.startswith("Umask:")), "")
    return int(found.split()[1], 8) if found else _USUAL_UMASK


def in_the_way(error: BaseException) -> Path | None:
    """The file that stands where an error wanted a folder, if that is what it says."""
    name = getattr(error, "filename", None)
    if not isinstance(error, NotADirectoryError | FileExistsError) or not isinstance(name, str):
        return None
    path = Path(name)
    return next((place for place in (path, *path.parents) if place.is_file()), None)


def not_written(error: BaseException, target: Path | None = None) -> OpenSoraError:
    """One sentence of an error of writing, of whatever library: what file, why, what to do."""
    name = target or getattr(error, "filename", None) or "a file"
    why = getattr(error, "strerror", None) or shown(str(error), _LONGEST_CAUSE)
    if file := in_the_way(error):
        return OpenSoraError(
            f"{file}: is a file and a folder is needed there; move it away or choose another place"
        )
    if target is None and isinstance(error, PermissionError):  # to read it or to write it
        return OpenSoraError(
            f"{name}: access is refused ({why}); change its rights or choose another place, then"
            " run the same command again"
        )
    return OpenSoraError(
        f"{name}: {NOT_WRITTEN} ({why}); free the disk or choose another place, then run the"
        " same command again"
    )


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def lines_of(text: str, *, odd_breaks: str | None = None) -> list[str]:
    """The lines of a text as files end them: by a line feed, a carriage return, or both.

    `str.splitlines` also breaks at U+2028, U+2029, U+0085, form feeds and others, which chat
    windows and notes leave inside sentences.

    Args:
        text: of a file.
        odd_breaks: what those become; None = they stay.
    """
    if odd_breaks is not None:
        text = _ODD_BREAKS.sub(odd_breaks, text)
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        OpenSoraError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OpenSoraError(f"{path}: expected a readable JSON file ({error})") from error


def read_json_object(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds named fields.

    Raises:
        OpenSoraError: the file is missing, is not JSON, or holds something else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise OpenSoraError(f"{path}: expected named fields in braces, found a JSON {kind}")
    return found


def sha256_file(path: str | Path) -> str:
    """Hash the content of a file; returns 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_once(path: str | Path) -> str:
    """The same; a file is read again only where its size, times or number are others.

    Raises:
        OSError: it can not be read.
    """
    facts = os.stat(path)
    return _sha256(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)


@lru_cache(_REMEMBERED)
def _sha256(path: str, *_facts: int) -> str:
    return sha256_file(path)
