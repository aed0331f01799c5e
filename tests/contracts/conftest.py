"""What the tests of shown commands share: a working folder, and the files of a finished run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.shown_paths import REPOSITORY, furnish


@pytest.fixture(name="made", scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Outputs of every job of a run of configs/workflow/test.yaml."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "all", "--summary"),
            *("--snakefile", str(REPOSITORY / "Snakefile")),
            *("--profile", str(REPOSITORY / "profiles/test")),
            *("--configfile", str(REPOSITORY / "configs/workflow/test.yaml")),
            *("--directory", str(tmp_path_factory.mktemp("summary"))),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=REPOSITORY,
    )
    names = [line.split("\t")[0] for line in done.stdout.splitlines()]
    return [name for name in names if name.startswith("results/")]


@pytest.fixture(name="place")
def _place(made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as after a run of the demo."""
    furnish(tmp_path, made)
    monkeypatch.chdir(tmp_path)
    return tmp_path
