"""Ctrl-C at any moment leaves nothing half-written, and the same command then finishes the work."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opensora.cli.main import EXIT_DONE, EXIT_STOPPED, main

pytestmark = pytest.mark.slow


def command(name: str, folder: Path, world: Path) -> list[str]:
    """Words of a command that reads the world and writes into the folder."""
    options = {
        "make-demo": ["--output", "world", "--num-videos", "4", "--num-images", "4"],
        "ingest-videos": [
            *(str(world / "world/videos"), "--output", "videos.csv"),
            *("--shards-dir", "shards", "--num-shards", "1"),
        ],
        "detect-scenes": ["--videos", str(world / "shards/0000.csv"), "--output", "scenes.csv"],
        "split-clips": [
            *("--scenes", str(world / "scenes.csv"), "--output", "clips.csv"),
            *("--store", "clips", "--max-s", "2", "--fps", "8", "--short-side", "64"),
        ],
    }
    return [
        name,
        *(
            str(folder / word) if before in ("--output", "--shards-dir", "--store") else word
            for before, word in zip(["", *options[name]], options[name], strict=False)
        ),
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands write when nobody disturbs them."""
    folder = tmp_path_factory.mktemp("world")
    for name in ("make-demo", "ingest-videos", "detect-scenes", "split-clips"):
        assert main(command(name, folder, folder)) == EXIT_DONE
    return folder


@pytest.mark.parametrize("seconds", [0.7, 1.5])
@pytest.mark.parametrize("name", ["make-demo", "ingest-videos", "detect-scenes", "split-clips"])
def test_an_interrupted_command_continues(
    name: str, seconds: float, world: Path, tmp_path: Path
) -> None:
    words = command(name, tmp_path, world)
    process = subprocess.Popen([sys.executable, "-m", "opensora.cli.main", *words])
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=60)
    # before main starts python itself dies of the signal; a fast command may be done already
    assert code in (EXIT_DONE, EXIT_STOPPED, -signal.SIGINT)
    found = {path: path.read_bytes() for path in tmp_path.glob("**/*.csv")}
    assert main(words) == EXIT_DONE
    for path, content in found.items():  # what stood there was whole
        assert path.read_bytes() == content, path
    for path in sorted(tmp_path.rglob("*")):
        twin = world / path.relative_to(tmp_path)
        if path.suffix in (".mp4", ".png"):
            assert path.read_bytes() == twin.read_bytes(), path
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert not [name for name in left if Path(name).name.startswith(".")]
