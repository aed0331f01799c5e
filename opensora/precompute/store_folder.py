"""A store folder under construction, kept when the job fails so that the next run continues."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from opensora.core.errors import ConfigError
from opensora.stores.files import INDEX_NAME, PARTIAL_SUFFIX


@contextmanager
def under_construction(folder: Path) -> Iterator[Path]:
    """Yield `{folder}.partial`, holding what earlier runs finished; put it in place on success.

    A workflow manager deletes the outputs of a failed job; the partial folder is not one of them.
    """
    work = folder.with_name(f"{folder.name}{PARTIAL_SUFFIX}")
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


def remove_stale(work: Path, names: Collection[str]) -> None:
    """Delete store files and pictures that belong to nothing in the new store."""
    for pattern in ("*.safetensors", "*.png"):
        for path in work.glob(pattern):
            if path.name not in names:
                path.unlink()


def check_shard(shard: int, num_shards: int) -> None:
    """Refuse a shard that does not exist.

    Raises:
        ConfigError: expected 0 <= shard < num_shards.
    """
    if not 0 <= shard < num_shards:
        raise ConfigError(
            f"--shard {shard} --num-shards {num_shards}: expected 0 <= shard < num-shards"
        )
