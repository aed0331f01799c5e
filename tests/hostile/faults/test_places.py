"""Every command of the workflow on a full disk and in folders that may not be written.

Each ends with one sentence and exit code 2, leaves nothing half written, and the same command ends
with the bytes of an undisturbed run once there is room.
"""

import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opensora.cli.main import EXIT_DONE, EXIT_USER, main

from ..conftest import Run
from ..files import write
from .smallest import commands, hashes

RUN, STORE = "results/test", "results/store"
# what each command makes, and what it would find again instead of making it
MADE = {
    "make-demo": [f"{RUN}/raw"],
    "ingest-videos": [f"{RUN}/ingest/0000.parquet", f"{STORE}/shards.jsonl"],
    "detect-scenes": [f"{RUN}/scenes/0000.parquet"],
    "split-clips": [f"{RUN}/clips/0000.parquet", f"{STORE}/clips"],
    "caption-clips": [f"{RUN}/captions/0000.parquet"],
    "score-clips": [f"{RUN}/scores/*/0000.parquet", f"{STORE}/scores"],
    "index-tables": [f"{RUN}/tables.json"],
    "build-manifest": [f"{RUN}/manifest*", f"{RUN}/rejected.csv", f"{RUN}/funnel.json"],
    "assign-buckets": [
        f"{RUN}/buckets/stage1/{name}" for name in ("plan*", "valid*", "left*", "summary*", "0*")
    ],
    "encode-captions": [f"{RUN}/embeddings/0000.parquet", f"{STORE}/embeddings"],
    "encode-videos": [f"{RUN}/latents/*/0000.parquet", f"{STORE}/latents"],
    "settle-plan": [
        f"{RUN}/buckets/stage1/{name}" for name in ("settled*", "rejected*", "ledger*")
    ],
    "train-vae": [f"{RUN}/models/vae"],
    "train-text-encoder": [f"{RUN}/models/text_encoder"],
    "train-clip": [f"{RUN}/models/clip"],
    "train": [f"{RUN}/train/stage1"],
    "sample": [f"{RUN}/samples/stage2"],
    "evaluate": [f"{RUN}/evaluation"],
    "report": [f"{RUN}/report"],
    "export": [f"{RUN}/shards"],
}
EXPORT = ["export", "--manifest", f"{RUN}/manifest", "--format", "webdataset"]
EXPORT += ["--output", f"{RUN}/shards"]
SENTENCE = re.compile(
    r"could not be written \((No space left on device|File too large|Permission denied)\)"
    r"|access is refused \([^)]*Permission denied\)"
    r"|No space left on device"
)
# of the machine or the moment: a lock, the times in metrics and summaries
UNLIKE = re.compile(r"/lock\.\d+$|/state/|metrics\.jsonl$|/report/|\.log$|evaluation/")
LIMIT = 4096  # bytes a file may have where no small disk can be mounted
Trial = Callable[[Path, list[str]], "subprocess.CompletedProcess[str]"]


def call(
    folder: Path, words: list[str], before: Callable[[], None] | None = None, *wrap: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, as a rule does."""
    command = [*wrap, sys.executable, "-m", "opensora.cli.main", *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False,
        preexec_fn=before,
    )  # fmt: skip


def take_out(folder: Path, patterns: list[str]) -> int:
    """Remove what a command made; how many bytes that were."""
    size = 0
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        size += sum(file.stat().st_size for file in files)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return size


def require_sentence(done: "subprocess.CompletedProcess[str]", name: str) -> None:
    """It ended as what the user can mend: one sentence, no traceback."""
    assert done.returncode == EXIT_USER, done.stderr
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith(f"opensora {name}: ")]
    assert len(told) == 1, done.stderr
    assert SENTENCE.search(told[0]), told[0]
    assert "run the same command again" in told[0]


def require_whole(now: dict[str, str], before: dict[str, str], whole: dict[str, str]) -> None:
    """All that is there was there before, or is what an undisturbed run wrote."""
    fresh_names = now.keys() - before.keys()
    hidden = [name for name in fresh_names if any(p.startswith(".") for p in Path(name).parts)]
    assert hidden == []
    assert before.items() <= now.items() | {
        (name, h) for name, h in before.items() if UNLIKE.search(name)
    }
    fresh = {name: now[name] for name in fresh_names if not UNLIKE.search(name)}
    assert {name: h for name, h in fresh.items() if whole.get(name) != h} == {}


def try_at(folder: Path, words: list[str], trial: Trial, whole: dict[str, str]) -> None:
    """The trial fails with one sentence, and the command then does its work."""
    before = hashes(folder / "results")
    require_sentence(trial(folder, words), words[0])
    require_whole(hashes(folder / "results"), before, whole)
    done = call(folder, words)
    assert done.returncode == EXIT_DONE, done.stderr
    now = hashes(folder / "results")
    require_whole(now, before, whole)
    gone = {name for name in whole.keys() - now.keys() if not UNLIKE.search(name)}
    # of a store that was emptied what other shards put there stays away; Snakemake's marks too
    assert {
        n for n in gone if not n.startswith(("store/", "test/scores/")) and "/." not in n
    } == set()


def limited(folder: Path, words: list[str]) -> "subprocess.CompletedProcess[str]":
    """Without a small disk: files that grow beyond some bytes can not be written."""

    def before() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))

    return call(folder, words, before)


def filled(left: int) -> Trial:
    """On a disk of its own that has so many bytes left."""

    def trial(folder: Path, words: list[str]) -> "subprocess.CompletedProcess[str]":
        facts = os.statvfs(folder)
        filler = folder / "filler"
        filler.write_bytes(bytes(max(0, facts.f_bavail * facts.f_frsize - left)))
        try:
            return call(folder, words)
        finally:
            filler.unlink()

    return trial


def locked(folder: Path, words: list[str]) -> "subprocess.CompletedProcess[str]":
    """In folders and files without the right to write, as somebody whom that stops."""
    rights = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}"]
    wrap = drop if os.geteuid() == 0 else []
    if wrap and subprocess.run([*drop, "true"], capture_output=True, check=False).returncode:
        pytest.skip("root writes everything, and setpriv can not take that away here")
    places = [folder, *folder.rglob("*")]
    modes = [stat.S_IMODE(path.lstat().st_mode) for path in places]
    for path, mode in zip(reversed(places), reversed(modes), strict=True):
        path.chmod(mode & ~0o222)
    try:
        return call(folder, words, None, *wrap)
    finally:
        for path, mode in zip(places, modes, strict=True):
            path.chmod(mode)


@contextmanager
def disk(place: Path, size: int) -> Iterator[bool]:
    """A small disk at a folder; False where none can be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="module")
def words_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The words of each command."""
    return {**commands(tmp_path_factory.mktemp("empty")), "export": EXPORT}


@pytest.fixture(scope="module")
def whole(finished: Path) -> dict[str, str]:
    """Hashes of the undisturbed run, with what export makes of it."""
    assert call(finished, EXPORT).returncode == EXIT_DONE
    return hashes(finished / "results")


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("how", ["no byte left", "a part of it fits", "no right"])
def test_a_command_that_can_not_write_is_one_sentence_and_goes_on(
    name: str,
    how: str,
    finished: Path,
    words_of: dict[str, list[str]],
    whole: dict[str, str],
    tmp_path: Path,
) -> None:
    assert set(words_of) == set(MADE)
    with disk(tmp_path / "disk", 200 << 20) as is_small:
        folder = tmp_path / "disk"
        shutil.copytree(finished / "results", folder / "results")
        size = take_out(folder, MADE[name])
        if how == "no right":
            trial: Trial = locked
        elif is_small:
            trial = filled(0 if how == "no byte left" else size // 8)
        else:
            trial = limited
        try_at(folder, words_of[name], trial, whole)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips with captions, as `results/test`."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "raw").mkdir()
    run = Run(folder)
    for k in range(3):
        write(folder / f"raw/{k}.mp4", k, num_frames=20, size=(96, 128))
    for stage in ("ingest-videos", "detect-scenes", "split-clips"):
        assert main(run.words(stage)) == EXIT_DONE
    return folder


@pytest.mark.parametrize("name", ["caption-clips", "build-manifest", "export"])
def test_three_of_them(name: str, small_run: Path, tmp_path: Path) -> None:
    tables = {
        "caption-clips": [
            *("caption-clips", "--clips", "../clips.csv", "--captioner", "template"),
            *("--output", "results/captions.parquet"),
        ],
        "build-manifest": [
            *("build-manifest", "--videos", "../videos.csv", "--scenes", "../scenes.csv"),
            *("--clips", "../clips.csv", "--captions", "results/captions.parquet"),
            *("--manifest", "results/manifest.parquet", "--rejected", "results/rejected.csv"),
            *("--funnel", "results/funnel.json", "--data-card", "results/data_card.md"),
        ],
        "export": [
            *("export", "--manifest", "results/manifest.parquet", "--format", "parquet"),
            *("--output", "results/shards"),
        ],
    }
    for table in ("videos", "scenes", "clips"):
        shutil.copy(small_run / f"{table}.csv", tmp_path)
    (tmp_path / "straight").mkdir()
    for words in tables.values():
        done = call(tmp_path / "straight", words)
        assert done.returncode == EXIT_DONE, done.stderr
        if words[0] == name:
            break
    whole = hashes(tmp_path / "straight/results")
    with disk(tmp_path / "disk", 1 << 20) as is_small:
        folder = tmp_path / "disk"
        (folder / "results").mkdir()
        for before in list(tables)[: list(tables).index(name)]:
            assert call(folder, tables[before]).returncode == EXIT_DONE
        try_at(folder, tables[name], filled(0) if is_small else limited, whole)
        if is_small:
            return
    assert os.geteuid() != 0  # root mounts
