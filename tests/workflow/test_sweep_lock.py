"""While Snakemake itself runs on a folder, nothing of its store is freed."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from opensora.cli.main import main
from opensora.tables.io import write_table
from tests.results_folder import age

SNAKEFILE = """
rule sweep:
    output:
        "results/two/said.txt",
    shell:
        "{python} -c 'from opensora.cli.main import main; exit(main())' doctor --sweep results"
        " --yes > {{output}} 2>&1 || true"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that names one clip, and an old file of latents that nobody names."""
    victim = tmp_path / "results/store/latents/x/0000of0001/a.safetensors"
    victim.parent.mkdir(parents=True)
    victim.write_bytes(b"latents")
    age(victim, hours=2)
    clips = pd.DataFrame({"path": ["results/store/clips/ab/abc.mp4"]})
    write_table(clips, tmp_path / "results/two/clips/0000.parquet")
    return tmp_path


def test_a_running_snakemake_is_seen_and_a_finished_one_is_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "Snakefile").write_text(SNAKEFILE.format(python=sys.executable))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--directory", str(folder)]
    done = subprocess.run(
        [*command, "--snakefile", str(folder / "Snakefile")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    victim = folder / "results/store/latents/x/0000of0001/a.safetensors"
    assert "run two holds its lock" in (folder / "results/two/said.txt").read_text()
    assert victim.exists()
    assert main(["doctor", "--sweep", str(folder / "results"), "--yes"]) == 0
    assert "latents: 1 files" in capsys.readouterr().out
    assert not victim.exists()
