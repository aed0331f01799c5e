"""Another checkout of the project, whose commands run in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from opensora.core.errors import ConfigError, OpenSoraError

HERE = Path(__file__).resolve().parents[2]
_COMMAND = "from opensora.cli.main import entry; entry()"
_LIMIT_S = 3600.0


def find_checkout(given: str) -> Path:
    """The folder that `--against` names.

    Raises:
        ConfigError: it holds no checkout.
    """
    folder = Path(given).resolve()
    if not (folder / "opensora" / "__init__.py").is_file():
        raise ConfigError(f"--against {given}: no checkout of opensora; give its folder")
    return folder


def run_in(
    checkout: Path, words: Sequence[str], *, program: Sequence[str] = ("-c", _COMMAND)
) -> None:
    """Run a command line of opensora, or another program, with the package of a checkout.

    Raises:
        OpenSoraError: it failed, or took longer than an hour; says where and its last line.
    """
    try:
        done = subprocess.run(
            [sys.executable, *program, *words],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OpenSoraError(f"bench: {checkout}: not done after {_LIMIT_S:.0f} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise OpenSoraError(f"bench: {checkout}: it failed: {lines[-1]}")
