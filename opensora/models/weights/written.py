"""Whether weights are those that training here wrote, by the hashes that it noted beside them."""

from collections.abc import Sequence
from pathlib import Path

from opensora.config.load import read_saved_config
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import sha256_once

_CONFIG = "config.py"  # beside the weights of a stage: data


def check_written(files: Sequence[Path]) -> None:
    """Compare the files of some weights; those that nobody noted anything of are not compared.

    Raises:
        CheckpointError: one has changed since training wrote it.
    """
    beside = files[0].parent / _CONFIG
    if not beside.is_file():
        return
    try:
        noted = read_saved_config(beside).get("written") or {}
    except ConfigError:  # a program of others; whoever needs it says so
        return
    for file in files:
        expected = noted.get(file.name)
        if expected is not None and sha256_once(file) != expected:
            raise CheckpointError(
                f"{file}: is not what training wrote, by the hash in {_CONFIG} beside it; copy both"
                " again, or remove the file and run train again"
            )
