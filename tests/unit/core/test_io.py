"""Whole files or none."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from opensora.core.errors import OpenSoraError
from opensora.core.io import (
    atomic_path,
    put_first,
    read_json,
    read_json_object,
    scratch_folder,
    sha256_file,
    write_json,
    write_text,
)


def write_half(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        write_half(target)
    assert os.listdir(tmp_path) == ["table.csv"]
    assert target.read_text() == "old"


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    def fill(target: Path) -> None:
        with atomic_path(target), open("/dev/full", "w") as device:
            device.write("more than fits")

    with pytest.raises(OpenSoraError, match=r"table\.csv: could not be written \(No space left"):
        fill(tmp_path / "table.csv")
    assert os.listdir(tmp_path) == []


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "stale").touch()
    with atomic_path(target, folder=True) as temporary:
        (temporary / "fresh").touch()
    assert os.listdir(target) == ["fresh"]
    assert os.listdir(tmp_path) == ["folder"]


def test_the_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "clip.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        temporary.touch()


def test_a_place_that_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(OpenSoraError, match="file: is a file and a folder is needed there"):
        write_text(blocker / "below" / "x.txt", "text")


def test_json_keeps_its_value_and_hashes_alike(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "ä"})
    write_json(tmp_path / "b.json", {"a": "ä", "b": 1})
    assert read_json(tmp_path / "a.json") == {"a": "ä", "b": 1}
    assert sha256_file(tmp_path / "a.json") == sha256_file(tmp_path / "b.json")


def test_a_broken_json_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(OpenSoraError, match="readable JSON"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_have_the_rights_of_the_umask_whoever_wrote_them(tmp_path: Path, umask: int) -> None:
    code = (
        "import os, sys; from pathlib import Path; os.umask(int(sys.argv[2]))\n"
        "from opensora.core.io import atomic_path\n"
        "def private(path): os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))\n"
        "with atomic_path(sys.argv[1] + '/a') as path: private(path)\n"
        "with atomic_path(sys.argv[1] + '/b', folder=True) as path: private(path / 'c')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(umask)], check=True, timeout=60)
    for name in ("a", "b/c"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


def test_the_first_file_at_a_name_stays(tmp_path: Path) -> None:
    target = tmp_path / "deep/name"
    for content, stands in (("first", True), ("second", False)):
        (tmp_path / "made").write_text(content)
        assert put_first(tmp_path / "made", target) is stands
        assert target.read_text() == "first"
        assert not (tmp_path / "made").exists()
    (tmp_path / "made").write_text("third")
    assert put_first(tmp_path / "made", target, replace=True)
    assert target.read_text() == "third"
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "name"]
    assert target.stat().st_nlink == 1


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_does_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "made").write_text("whole")
    assert put_first(tmp_path / "made", tmp_path / "name")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("name", ["name", "deep/name"])
def test_no_place_for_a_finished_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "made").touch()
    with pytest.raises(OpenSoraError, match="file: is a file and a folder is needed there"):
        put_first(tmp_path / "made", tmp_path / "file" / name)
    with pytest.raises(OpenSoraError, match="file: is a file and a folder is needed there"):
        write_in_scratch(tmp_path / "file" / name)


def write_in_scratch(path: Path) -> None:
    with scratch_folder(path) as scratch:
        (scratch / "half").touch()
        raise KeyboardInterrupt


def test_a_scratch_folder_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_in_scratch(tmp_path / "a/b")
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


@pytest.mark.parametrize("text", ["[1]", "null", "3", '"x"'])
def test_fields_that_are_none_are_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(OpenSoraError, match=r"config.json: expected named fields in braces"):
        read_json_object(tmp_path / "config.json")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_a_folder_that_is_replaced_stays_whole_until_the_new_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (tmp_path / "world/inner").mkdir(parents=True)
    (tmp_path / "world/inner/a.txt").write_text("old")

    def broken(*_: object) -> None:
        raise error

    def make() -> None:
        with atomic_path(tmp_path / "world", folder=True) as place:
            (place / "b.txt").write_text("new")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", broken)
        with pytest.raises(type(error)):
            make()
    assert [path.name for path in tmp_path.rglob("*")] == ["world", "inner", "a.txt"]
    make()
    assert [path.name for path in tmp_path.rglob("*")] == ["world", "b.txt"]
