"""The stages of curation as a person calls them, on a collection of difficult files."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from opensora.cli.main import main
from opensora.tables.columns import CLIPS, SCENES, SCORES, VIDEOS, Table
from opensora.tables.io import read_table

from .files import write_world


class Run:
    """A folder in which the stages run; each writes a table of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def words(self, stage: str, *more: str) -> list[str]:
        """The command line of a stage."""
        at = self.folder
        known = {
            "ingest-videos": [f"{at}/raw", "--output", f"{at}/videos.csv"],
            "detect-scenes": [
                *("--videos", f"{at}/videos.csv", "--output", f"{at}/scenes.csv"),
                *("--min-scene-s", "0.1"),
            ],
            "split-clips": [
                *("--scenes", f"{at}/scenes.csv", "--output", f"{at}/clips.csv"),
                *("--store", f"{at}/clips", "--min-s", "0.5", "--max-s", "5"),
            ],
            "score-clips": [
                *("--scorer", "technical", "--clips", f"{at}/clips.csv"),
                *("--output", f"{at}/technical.csv"),
            ],
        }
        return [stage, *known[stage], *more]

    def stage(self, name: str, *more: str) -> int:
        """Run a stage in this process; its exit code."""
        return main(self.words(name, *more))

    def start(self, name: str, *more: str) -> subprocess.Popen[str]:
        """Start a stage as a process of its own."""
        command = [sys.executable, "-m", "opensora.cli.main", *self.words(name, *more)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def table(self, name: str) -> pd.DataFrame:
        """The table that a stage wrote."""
        layouts: dict[str, Table] = {
            **{"videos": VIDEOS, "scenes": SCENES, "clips": CLIPS, "technical": SCORES}
        }
        return read_table(self.folder / f"{name}.csv", layouts[name])

    def leftovers(self) -> list[str]:
        """Files under a temporary name."""
        return [str(path) for path in self.folder.rglob(".*")]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole collection, brought through all four stages."""
    run = Run(tmp_path_factory.mktemp("hostile"))
    write_world(run.folder / "raw")
    for stage in ("ingest-videos", "detect-scenes", "split-clips", "score-clips"):
        assert run.stage(stage) == 0
    return run


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Run]:
    """An empty place for a run, with a folder raw."""

    def make() -> Run:
        (tmp_path / "raw").mkdir()
        return Run(tmp_path)

    return make
