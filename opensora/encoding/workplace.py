"""A store folder under construction, kept when the job fails so that the next run continues."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opensora.datasets.store_file import INDEX_NAME


@contextmanager
def under_construction(folder: Path) -> Iterator[Path]:
    """Yield `{folder}.partial`, holding what earlier runs finished; put it in place on success.

    A workflow manager deletes the outputs of a failed job; the partial folder is not one of them.
    """
    work = folder.with_name(f"{folder.name}.partial")
    if folder.is_dir() and not work.exists():
        folder.rename(work)  # a second run reuses what is there
    work.mkdir(parents=True, exist_ok=True)
    index = work / INDEX_NAME
    index.unlink(missing_ok=True)
    try:
        yield work
    except BaseException:
        index.unlink(missing_ok=True)  # a reader must not take a part for the whole
        raise
    if folder.is_dir():
        shutil.rmtree(folder)
    work.rename(folder)


def remove_stale(work: Path, names: list[str]) -> None:
    """Delete store files that the new index does not name."""
    for path in work.glob("*.safetensors"):
        if path.name not in names:
            path.unlink()
