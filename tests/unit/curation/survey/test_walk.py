"""One pass over names: what a folder holds, and what that costs."""

import os
import time
from pathlib import Path

import pytest

from opensora.core.errors import TableError
from opensora.curation.survey.walk import walk


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_files_are_sorted_by_what_they_may_be(tmp_path: Path) -> None:
    names = ("a.MP4", "a.txt", "b/c.mkv", "b/c.json", "b/d.png", "meta.csv", "x.tar", "notes.pdf")
    touch(tmp_path, *names, "MOVI1.MOD", "clip.mp4/e.webm")
    found = walk(tmp_path)
    assert [Path(path).name for path in found.videos] == ["a.MP4", "c.mkv", "e.webm"]
    assert [Path(path).name for path in found.images] == ["d.png"]
    assert [Path(path).name for path in found.tables] == ["meta.csv"]  # c.json is c.mkv's caption
    assert [Path(path).name for path in found.archives] == ["x.tar"]
    assert [Path(path).name for path in found.unnamed] == ["MOVI1.MOD"]
    assert {Path(path).name for path in found.captioned} == {"a.MP4", "c.mkv"}
    assert found.others == {".txt": 1, ".pdf": 1}


def test_a_link_to_a_folder_is_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.mp4", "elsewhere/b.mp4")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/there").symlink_to(tmp_path / "elsewhere")
    assert [Path(path).name for path in walk(tmp_path / "in").videos] == ["a.mp4", "b.mp4"]


def test_links_that_lead_nowhere_or_in_a_circle_hide_no_other_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "z.mp4", "in/b.mp4")
    (tmp_path / "in/loop").symlink_to(".")
    (tmp_path / "c.mp4").symlink_to("d.mp4")
    (tmp_path / "d.mp4").symlink_to("c.mp4")
    (tmp_path / "dangling.mp4").symlink_to("nowhere.mp4")
    found = walk(tmp_path)
    names = [Path(path).name for path in found.videos]
    assert names == ["a.mp4", "c.mp4", "d.mp4", "dangling.mp4", "b.mp4", "z.mp4"]
    assert found.unreadable == []  # ingest gives each of the links its row


def test_no_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"nowhere: no such folder; name one"):
        walk(tmp_path / "nowhere")
    (tmp_path / "meta.csv").touch()
    with pytest.raises(TableError, match=r"meta\.csv: is a file; .* as `manifest:` of a workflow"):
        walk(tmp_path / "meta.csv")


def test_fifty_thousand_names_cost_at_most_twice_a_bare_walk(tmp_path: Path) -> None:
    for part in range(50):
        folder = tmp_path / f"{part:02d}"
        folder.mkdir()
        for number in range(1000):
            os.close(os.open(folder / f"{number:04d}.mp4", os.O_CREAT | os.O_WRONLY))

    def bare() -> None:  # every name and size, as `du` would
        for root, _, names in os.walk(tmp_path, followlinks=True):
            for name in names:
                os.stat(os.path.join(root, name))

    def seconds(function: object) -> float:
        begin = time.process_time()
        assert callable(function)
        function()
        return time.process_time() - begin

    assert len(walk(tmp_path).videos) == 50_000
    ours = min(seconds(lambda: walk(tmp_path)) for _ in range(3))
    theirs = min(seconds(bare) for _ in range(3))
    assert ours <= 2 * theirs, (ours, theirs)
