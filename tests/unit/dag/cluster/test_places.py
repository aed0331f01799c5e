"""Where a folder lies, by the table of mounts."""

from pathlib import Path

import pytest

from opensora.dag.cluster.places import examine_places, file_system, video_bytes

MOUNTS = """\
/dev/sda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
lustre /home/big\\040disk lustre rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/var", ("ext4", "/")),
        ("/home/me/run", ("nfs4", "/home")),
        ("/homes/me", ("ext4", "/")),
        ("/home/big disk/run", ("lustre", "/home/big disk")),
    ],
)
def test_the_longest_mount_that_holds_a_folder_counts(
    folder: str, expected: tuple[str, str], mounts: Path
) -> None:
    assert file_system(Path(folder), mounts) == expected


def test_a_project_in_a_folder_of_this_machine_alone(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mounts.write_text(f"{MOUNTS}tmpfs {tmp_path} tmpfs rw 0 0\n")
    project, _ = examine_places(mounts)
    assert (project.mark, project.topic) == ("mend", "project folder")
    mounts.write_text(f"{MOUNTS}server:/x {tmp_path} nfs rw 0 0\n")
    project, _ = examine_places(mounts)
    assert project.mark == "ok"


def test_bytes_of_folders_and_files(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/one.mp4").write_bytes(b"123")
    (tmp_path / "two.mp4").write_bytes(b"45")
    assert video_bytes([str(tmp_path / "a"), str(tmp_path / "two.mp4"), "*.mp4"]) == 5
