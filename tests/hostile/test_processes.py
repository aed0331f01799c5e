"""Workers that die or hang, disks that are full, files that may not be read."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opensora.cli.main import EXIT_DONE, EXIT_STOPPED, EXIT_USER, main

from .conftest import Run
from .files import write

GIGABYTES = 2**30


def reader_of(path: Path, *, parent: int) -> int:
    """Wait for the process below `parent` that has a file open."""
    deadline = time.monotonic() + 60  # a busy machine takes long to start a command
    while time.monotonic() < deadline:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                opened = {os.readlink(link) for link in (folder / "fd").iterdir()}
            except OSError:
                continue  # it has ended, or is none of ours
            if str(path) in opened and parent in ancestors(folder):
                return int(folder.name)
        time.sleep(0.02)
    raise AssertionError(f"nobody reads {path}")


def ancestors(folder: Path) -> Iterator[int]:
    """Processes above one."""
    while folder.name != "1":
        above = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
        yield int(above)
        if above in ("0", "1"):
            return
        folder = folder.with_name(above)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that takes a while to look at."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write(path, 2, num_frames=9000, size=(64, 64), options={"preset": "ultrafast"})


@pytest.fixture
def slow(fresh: Callable[[], Run], long_film: Path) -> Run:
    """Three films, the second of which takes a while."""
    run = fresh()
    write(run.folder / "raw/a.mp4", 1)
    shutil.copy(long_film, run.folder / "raw/b.mp4")
    write(run.folder / "raw/c.mp4", 3)
    return run


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_file_of_a_killed_prober_is_tried_once_more(
    fresh: Callable[[], Run], number: int
) -> None:
    run = fresh()
    for name in "ac":
        write(run.folder / f"raw/{name}.mp4", ord(name))
    with open(run.folder / "raw/b.mp4", "wb") as file:
        file.truncate(16 * GIGABYTES)  # takes no space, but seconds to hash
    process = run.start("ingest-videos")
    os.kill(reader_of(run.folder / "raw/b.mp4", parent=process.pid), number)
    code, out = finish(process)
    assert (code, out.split(" -> ")[0]) == (EXIT_DONE, "ingest-videos: 2 of 3 files usable")
    assert list(run.table("videos")["status"]) == ["ok", "not_a_video", "ok"]  # zeros


@pytest.mark.parametrize("stage", ["detect-scenes", "split-clips"])
def test_the_video_of_a_killed_worker_is_tried_once_more(slow: Run, stage: str) -> None:
    assert slow.stage("ingest-videos") == EXIT_DONE
    if stage == "split-clips":
        assert slow.stage("detect-scenes") == EXIT_DONE
    process = slow.start(stage)
    time.sleep(0.1)
    os.kill(reader_of(slow.folder / "raw/b.mp4", parent=process.pid), signal.SIGKILL)
    assert finish(process)[0] == EXIT_DONE
    table = slow.table("scenes" if stage == "detect-scenes" else "clips")
    status = table.groupby("video_id", sort=False)["status"].unique().map(list)
    assert list(status) == [["ok"], ["ok"], ["ok"]]
    assert slow.leftovers() == []


def test_a_worker_that_hangs_is_given_up(slow: Run) -> None:
    assert slow.stage("ingest-videos") == EXIT_DONE
    process = slow.start("detect-scenes", "--timeout-s", "3")
    os.kill(reader_of(slow.folder / "raw/b.mp4", parent=process.pid), signal.SIGSTOP)
    assert finish(process)[0] == EXIT_DONE
    scenes = slow.table("scenes")
    assert list(scenes["status"]) == ["ok", "timeout", "ok"]
    # 3 s and one for every ten million of the 9000 * 64 * 64 pixels
    assert "not done after 7 s" in scenes["detail"].iloc[1]


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("ingest-videos", signal.SIGINT),
        ("detect-scenes", signal.SIGTERM),
        ("split-clips", signal.SIGINT),
        ("split-clips", signal.SIGTERM),
    ],
)
def test_a_signal_leaves_nothing_half_written_and_no_process(
    slow: Run, stage: str, number: signal.Signals
) -> None:
    stages = ["ingest-videos", "detect-scenes", "split-clips"]
    for before in stages[: stages.index(stage)]:
        assert slow.stage(before) == EXIT_DONE
    path = slow.folder / "raw/b.mp4"
    if stage == "ingest-videos":
        with open(path, "wb") as file:
            file.truncate(16 * GIGABYTES)
    process = slow.start(stage)
    worker = reader_of(path, parent=process.pid)
    process.send_signal(number)
    assert finish(process)[0] == EXIT_STOPPED
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert slow.leftovers() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if done.returncode != 0:
        pytest.skip(f"a small disk can not be mounted: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path, *, left: int) -> Path:
    """Fill a disk but for some bytes."""
    facts = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(facts.f_bavail * facts.f_frsize - left))
    return filler


@pytest.mark.parametrize(
    ("stage", "left"),
    [
        ("ingest-videos", 0),
        ("detect-scenes", 0),
        ("split-clips", 8192),
        ("split-clips --mode copy --min-s 0.1 --max-s 0.5", 8192),
        ("score-clips", 0),
    ],
)
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    small_disk: Path, capfd: pytest.CaptureFixture[str], stage: str, left: int
) -> None:
    run = Run(small_disk)
    (small_disk / "raw").mkdir()
    for k in range(3):
        write(
            small_disk / f"raw/{k}.mp4",
            k,
            num_frames=20,
            size=(96, 128),
            options={"crf": "4", "g": "5"},
        )
    name, *more = stage.split()
    for before in ("ingest-videos", "detect-scenes", "split-clips", "score-clips"):
        if before == name:
            break
        assert run.stage(before) == EXIT_DONE
    there = {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()}
    filler = fill(small_disk, left=left)
    capfd.readouterr()
    assert run.stage(name, *more) == EXIT_USER
    told = capfd.readouterr().err
    assert "No space left on device" in told
    assert "run the same command again" in told
    assert "Traceback" not in told
    filler.unlink()
    assert run.leftovers() == []
    for path, content in there.items():
        assert path.read_bytes() == content
    assert run.stage(name, *more) == EXIT_DONE


def without_privileges(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody who may not read everything."""
    command = [sys.executable, "-m", "opensora.cli.main", *words]
    if os.geteuid() == 0:
        rights = "-dac_override,-dac_read_search"
        drop = ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}"]
        if subprocess.run([*drop, "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("root reads everything, and setpriv can not take that away here")
        command = [*drop, *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_files_and_folders_that_may_not_be_read_get_rows(fresh: Callable[[], Run]) -> None:
    run = fresh()
    write(run.folder / "raw/a.mp4", 1)
    write(run.folder / "raw/secret.mp4", 2).chmod(0)
    (run.folder / "raw/locked").mkdir()
    (run.folder / "raw/locked").chmod(0)
    done = without_privileges(run.words("ingest-videos"))
    (run.folder / "raw/locked").chmod(stat.S_IRWXU)
    assert done.returncode == EXIT_DONE, done.stderr
    videos = run.table("videos")
    told = dict(zip(videos["path"].map(os.path.basename), videos["status"], strict=True))
    assert told == {"a.mp4": "ok", "secret.mp4": "unreadable", "locked": "unreadable"}
    assert videos["detail"].str.contains("Permission denied").sum() == 2
    # the rights come back: nothing but time tells, so it is looked at again
    (run.folder / "raw/secret.mp4").chmod(stat.S_IRUSR)
    assert run.stage("ingest-videos") == EXIT_DONE
    assert list(run.table("videos")["status"]) == ["ok", "ok"]


def test_a_place_that_may_not_be_written_is_one_sentence(fresh: Callable[[], Run]) -> None:
    run = fresh()
    write(run.folder / "raw/a.mp4", 1)
    assert run.stage("ingest-videos") == EXIT_DONE
    locked = run.folder / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    words = ["detect-scenes", "--videos", str(run.folder / "videos.csv")]
    done = without_privileges([*words, "--output", str(locked / "scenes.csv")])
    assert done.returncode == EXIT_USER
    assert "could not be written (Permission denied)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file,text\na.mp4,x\n", "needs a column 'path'"),
        (b"path,text\na.mp4,caf\xe9\n", "byte 19 is not UTF-8"),
        (b"path,text\n,x\n", "row 1 has an empty path"),
        (b'path,text\n"a.mp4,x\n', "not a readable table"),
        (b"", "not a readable table"),
    ],
)
def test_a_list_that_is_none_is_one_sentence(
    fresh: Callable[[], Run], capfd: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    run = fresh()
    (run.folder / "list.csv").write_bytes(content)
    output = run.folder / "videos.csv"
    assert main(["ingest-videos", str(run.folder / "list.csv"), "--output", str(output)]) == 2
    assert words in capfd.readouterr().err
    assert not output.exists()


def test_formulas_in_a_list_stay_text(fresh: Callable[[], Run]) -> None:
    run = fresh()
    name = "=cmd|' -C calc'!A0.mp4"
    write(run.folder / "raw" / name, 1)
    (run.folder / "list.csv").write_text(f'path,licence,text\n"raw/{name}",=1+1,"=HYPERLINK(1)"\n')
    output = run.folder / "videos.csv"
    assert main(["ingest-videos", str(run.folder / "list.csv"), "--output", str(output)]) == 0
    row = run.table("videos").iloc[0]
    assert (row["status"], row["licence"]) == ("ok", "=1+1")
    assert row["path"] == f"{run.folder}/raw/{name}"


@pytest.mark.slow
def test_a_list_of_a_million_rows_is_a_table_of_a_million_rows(fresh: Callable[[], Run]) -> None:
    run = fresh()
    write(run.folder / "raw/a.mp4", 1)
    lines = ["path,text", "raw/a.mp4,x", *(f"raw/{k}.mp4,=cmd()" for k in range(1_000_000))]
    (run.folder / "list.csv").write_text("\n".join(lines) + "\n")
    output = str(run.folder / "videos.csv")
    assert main(["ingest-videos", str(run.folder / "list.csv"), "--output", output]) == EXIT_DONE
    assert run.table("videos")["status"].value_counts().to_dict() == {"missing": 1_000_000, "ok": 1}
