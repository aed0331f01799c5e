"""A large table that is written again with the same rows re-runs nothing, in each profile.

The outputs are empty files that Snakemake takes for finished, but for one table; what it compares
is recorded as after a real run.
"""

import os
import random
from pathlib import Path

import pytest

from opensora.dag.dry_run import dry_run
from tests import forked

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "configs/workflow/test.yaml"
TABLE = "results/test/clips/0000.parquet"
SIZE = 1_500_000  # bytes; Snakemake by itself compares up to 1,000,000
DONE = "Nothing to be done"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def snakemake(folder: Path, profile: str, *words: str) -> str:
    command = [
        *("--snakefile", str(REPOSITORY / "Snakefile")),
        *("--profile", str(REPOSITORY / "profiles" / profile), "--directory", str(folder)),
        *("--configfile", str(CONFIG), *words),
    ]
    done = forked.run("snakemake", *command, timeout=200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def write_again(path: Path, content: bytes) -> None:
    """Write a table that is newer than all that was made of it."""
    path.write_bytes(content)
    newest = max(other.stat().st_mtime for other in path.parents[1].rglob("*"))
    os.utime(path, (newest + 60, newest + 60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with one large table."""
    folder = tmp_path_factory.mktemp("large")
    for job in dry_run(CONFIG, snakefile=REPOSITORY / "Snakefile", folder=folder):
        for name in job.outputs:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(exist_ok=True)
    (folder / TABLE).write_bytes(random.Random(0).randbytes(SIZE))
    snakemake(folder, "test", "--touch", "--forceall", "all")
    assert DONE in snakemake(folder, "test", "--dry-run", "all")
    return folder


@pytest.mark.parametrize("profile", ["local", "slurm", "test"])
def test_the_same_rows_re_run_nothing_and_others_do(profile: str, folder: Path) -> None:
    content = (folder / TABLE).read_bytes()
    write_again(folder / TABLE, content)
    said = snakemake(folder, profile, "--dry-run", "all")
    assert "caption_clips" not in said
    as_it_comes = snakemake(folder, "test", "--dry-run", "--max-checksum-file-size", "1MB", "all")
    assert "rule caption_clips:" in as_it_comes
    write_again(folder / TABLE, content[::-1])
    assert "rule caption_clips:" in snakemake(folder, profile, "--dry-run", "all")
    write_again(folder / TABLE, content)
