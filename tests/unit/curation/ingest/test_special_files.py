"""What is no file, though its name says so: a row with the reason, and no wait for a writer."""

import os
import socket
from pathlib import Path

import pytest

from opensora.curation.ingest.discovery import find_media, shard_listings
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.media.formats import content_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pipes, a socket, devices and a folder under the names of videos and pictures."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("pipe.mp4", "pipe.png", "noname", "beside.txt", "list.csv"):
        os.mkfifo(folder / name)
    (folder / "folder.mp4").mkdir()
    os.symlink("/dev/zero", folder / "zero.mp4")
    at = os.getcwd()
    os.chdir(folder)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("sock.mp4")
    os.chdir(at)
    return folder


def test_special_files_are_marked_and_not_waited_for(folder: Path) -> None:
    videos = ingest_videos([folder], timeout_s=20)
    found = {Path(row.path).name: (row.status, row.detail) for row in videos.itertuples()}
    assert found == {
        "pipe.mp4": ("unreadable", "pipe.mp4 is a named pipe and not a file"),
        "pipe.png": ("unreadable", "pipe.png is a named pipe and not a file"),
        "sock.mp4": ("unreadable", "sock.mp4 is a socket and not a file"),
        "zero.mp4": ("unreadable", "zero.mp4 is a device and not a file"),
    }
    assert find_media([folder]).ignored == {"(none)": 1, ".txt": 1, ".csv": 1}
    assert len(shard_listings([folder], 2, beside=[".txt"])) == 2


@pytest.mark.parametrize("name", ["pipe.mp4", "noname", "list.csv", "sock.mp4", "zero.mp4"])
def test_a_special_file_that_is_named_gets_a_row(folder: Path, name: str) -> None:
    videos = ingest_videos([folder / name], timeout_s=20)
    assert list(videos["status"]) == ["unreadable"]
    assert "and not a file" in videos["detail"].iloc[0]


def test_the_content_of_a_pipe_is_not_asked_for(folder: Path) -> None:
    with pytest.raises(OSError, match="a named pipe and not a file"):
        content_of(folder / "pipe.png")
