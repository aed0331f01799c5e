"""What was cut once is never cut again, whoever asks, and what is damaged is."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import opensora.curation.clips.clip_store as store_module
import opensora.curation.clips.split_clips as splitting_module
from opensora.core.errors import OpenSoraError
from opensora.core.io import sha256_file
from opensora.curation.clips.clip_store import ABANDONED_S, ClipStore, scratch_of_job
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import Source, clips_of_source, split_clips
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.boundaries import SceneSettings
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.encode import ffmpeg_executable, write_video
from opensora.tables.columns import SCENES
from opensora.tables.io import write_table

TWO_S = ClipSettings(max_s=2.0)


def add(folder: Path, name: str, seed: int) -> None:
    """A video of 12 frames, or an image."""
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 24, 32, 3), dtype=np.uint8)
    if name.endswith(".png"):
        Image.fromarray(pixels[0]).save(folder / name)
    else:
        write_video(folder / name, pixels, 8)


def scenes_of(folder: Path) -> pd.DataFrame:
    return detect_scenes(ingest_videos([folder]), SceneSettings("none"))


def files(store: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every clip."""
    found = [path for path in store.rglob("*") if path.suffix in (".mp4", ".png")]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def cut_here(scenes: pd.DataFrame, store: Path, settings: ClipSettings = TWO_S) -> pd.DataFrame:
    """Cut one source in this process."""
    source = Source(scenes.to_dict("records"), store / ".scratch-test")
    return pd.DataFrame(clips_of_source(source, store, settings))


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever decodes, hashes or opens a clip or its source to cut it fails from now on."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("it was known")

    for module, name in (
        *((splitting_module, name) for name in ("iter_frames", "read_frames", "sha256_file")),
        *((store_module, name) for name in ("is_finished", "sha256_file")),
    ):
        monkeypatch.setattr(module, name, refuse)


def test_a_clip_stands_under_its_recipe(ramp: pd.DataFrame, tmp_path: Path) -> None:
    clips = cut_here(ramp, tmp_path / "clips")
    path = Path(clips["path"].iloc[0])
    assert len(path.stem) == 32
    assert path == tmp_path / "clips" / path.stem[:2] / f"{path.stem}.mp4"
    assert clips["sha256"].iloc[0] == sha256_file(path)


def test_paths_are_relative_where_the_store_is(
    ramp: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clips = cut_here(ramp, Path("results/store/clips"))
    assert clips["path"].iloc[0].startswith("results/store/clips/")
    assert Path(clips["path"].iloc[0]).is_file()


def test_one_more_video_cuts_its_own_clips_alone(tmp_path: Path) -> None:
    for k in range(3):
        add(tmp_path / "raw", f"{k}.mp4", k)
    add(tmp_path / "raw", "a.png", 7)
    first = split_clips(scenes_of(tmp_path / "raw"), tmp_path / "clips", TWO_S)
    before = files(tmp_path / "clips")
    assert len(before) == 4
    add(tmp_path / "raw", "1b.mp4", 8)
    second = split_clips(scenes_of(tmp_path / "raw"), tmp_path / "clips", TWO_S)
    after = files(tmp_path / "clips")
    new = set(second["path"]) - set(first["path"])
    assert {Path(path).name for path in new} == after.keys() - before.keys()
    assert len(new) == 1
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_a_renamed_source_cuts_and_reads_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path / "raw", name, 1)
    scenes = scenes_of(tmp_path / "raw")
    first = cut_here(scenes, tmp_path / "clips")
    forbid_reading(monkeypatch)
    shutil.move(tmp_path / "raw" / name, tmp_path / "raw" / f"other {name}")
    renamed = scenes_of(tmp_path / "raw")
    assert renamed["id"].iloc[0] != scenes["id"].iloc[0]
    second = cut_here(renamed, tmp_path / "clips")
    assert second["id"].iloc[0] == f"{renamed['id'].iloc[0]}_000"
    facts = ["path", "sha256", "num_frames", "fps", "height", "width", "status"]
    pd.testing.assert_frame_equal(second[facts], first[facts])


@pytest.mark.parametrize("mode", ["reencode", "copy"])
def test_another_limit_cuts_other_spans_alone(
    ramp: pd.DataFrame, tmp_path: Path, mode: str
) -> None:
    if mode == "copy":  # its keyframes are 0 and 48
        ramp = ramp.iloc[[0]].assign(start_frame=0, end_frame=52)
    split_clips(ramp, tmp_path / "clips", ClipSettings(1.0, 6.0, mode=mode))
    before = files(tmp_path / "clips")
    assert len(before) == {"reencode": 2, "copy": 1}[mode]
    clips = split_clips(ramp, tmp_path / "clips", ClipSettings(0.5, 6.0, mode=mode))
    after = files(tmp_path / "clips")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {Path(clips["path"].iloc[-1]).name}
    assert clips["start"].iloc[-1] == 6.0  # the last half second


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut off":
        path.write_bytes(content[:-20])
    elif how == "half":
        path.write_bytes(content[: len(content) // 2])
    elif how == "longer":
        path.write_bytes(content + b"x")
    elif how == "empty":
        path.write_bytes(b"")
    else:  # whole, but under the address of another
        recipe = path.stem.encode()
        path.write_bytes(content.replace(recipe, recipe[::-1]))


@pytest.mark.parametrize("known", [True, False], ids=["on record", "without a record"])
@pytest.mark.parametrize("how", ["cut off", "half", "longer", "empty", "foreign"])
@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_a_damaged_file_is_made_anew(
    tmp_path: Path, name: str, how: str, known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    add(tmp_path / "raw", name, 1)
    scenes = scenes_of(tmp_path / "raw")
    first = cut_here(scenes, tmp_path / "clips")
    path = Path(first["path"].iloc[0])
    content = path.read_bytes()
    damage(path, how)
    if how == "foreign":  # as long as it was
        known = False
    if not known:
        shutil.rmtree(tmp_path / "clips/facts")
    pd.testing.assert_frame_equal(cut_here(scenes, tmp_path / "clips"), first)
    assert path.read_bytes() == content
    assert f"damaged clip is made anew path={path}" in caplog.text
    caplog.clear()
    pd.testing.assert_frame_equal(cut_here(scenes, tmp_path / "clips"), first)
    assert not caplog.text


def test_facts_that_are_lost_or_damaged_are_found_out_again(
    ramp: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = cut_here(ramp, tmp_path / "clips")
    before = files(tmp_path / "clips")
    (facts,) = (tmp_path / "clips/facts").rglob("*.json")
    known = json.loads(facts.read_text())
    assert {fact["sha256"] for fact in known.values()} == set(first["sha256"]) - {""}
    for wrong in ("{", "[]", '{"a": 1}'):
        facts.write_text(wrong)
        pd.testing.assert_frame_equal(cut_here(ramp, tmp_path / "clips"), first)
        assert json.loads(facts.read_text()) == known
        assert f"left out path={facts}" in caplog.text
        caplog.clear()
    assert files(tmp_path / "clips") == before


def test_a_store_that_is_none_is_one_sentence(
    ramp: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clips").touch()
    with pytest.raises(OpenSoraError, match="is a file and a folder is needed there"):
        cut_here(ramp, tmp_path / "clips")

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    store = ClipStore(tmp_path / "other", "source")
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(OpenSoraError, match="could not be looked up"):
        store.find(tmp_path / "other/ab/abc.mp4")


def test_a_table_of_scenes_without_hashes_gets_them(ramp: pd.DataFrame, tmp_path: Path) -> None:
    known = cut_here(ramp, tmp_path / "clips")
    pd.testing.assert_frame_equal(cut_here(ramp.assign(sha256=""), tmp_path / "clips"), known)


@pytest.mark.parametrize("mode", ["reencode", "copy"])
@pytest.mark.parametrize(("umask", "right"), [(0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_rights_of_the_umask(
    ramp: pd.DataFrame, tmp_path: Path, mode: str, umask: int, right: int
) -> None:
    add(tmp_path / "stills", "a.png", 1)
    before = os.umask(umask)
    try:
        cut_here(
            ramp.iloc[:1].assign(end_frame=52), tmp_path / "clips", ClipSettings(0.5, 6, mode=mode)
        )
        cut_here(scenes_of(tmp_path / "stills"), tmp_path / "clips")
    finally:
        os.umask(before)
    kinds = {path.suffix for path in (tmp_path / "clips").rglob("*.*")}
    assert kinds == {".mp4", ".png", ".json"}
    for path in (tmp_path / "clips").rglob("*"):
        execute = (right & 0o444) >> 2 if path.is_dir() else 0
        assert stat.S_IMODE(path.stat().st_mode) == right | execute, path


_MEETING = """
import json, sys, time
from pathlib import Path
import opensora.curation.clips.split_clips as module
from opensora.curation.clips.lengths import ClipSettings
from opensora.tables.io import read_table

folder, own, other, mode = Path(sys.argv[1]), *sys.argv[2:]
check = module._check_unchanged

def meet(*words):  # after all is looked up, before anything is cut
    Path(folder, own).touch()
    while not Path(folder, other).exists():
        time.sleep(0.005)
    check(*words)

module._check_unchanged = meet
scenes = read_table(folder / "scenes.csv").to_dict("records")
source = module.Source(scenes, folder / f"c/.scratch-{own}")
print(json.dumps(module.clips_of_source(source, folder / "c", ClipSettings(0.5, 2, mode=mode))))
"""


@pytest.mark.parametrize("mode", ["reencode", "copy"])
def test_jobs_that_cut_the_same_at_the_same_time_both_succeed(
    ramp: pd.DataFrame, tmp_path: Path, mode: str
) -> None:
    if mode == "copy":  # every frame can be cut at
        ramp = ramp.iloc[[0]].assign(end_frame=52)
        write_intra(Path(ramp["path"].iloc[0]))
        ramp["sha256"] = sha256_file(ramp["path"].iloc[0])
    write_table(ramp, tmp_path / "scenes.csv", SCENES)
    command = [sys.executable, "-c", _MEETING, str(tmp_path)]
    both = [
        subprocess.Popen([*command, *names, mode], stdout=subprocess.PIPE, text=True)
        for names in (("one", "two"), ("two", "one"))
    ]
    tables = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert tables[0] == tables[1]
    good = [clip for clip in tables[0] if clip["status"] == "ok"]
    assert len(good) >= 4
    assert sorted(files(tmp_path / "c")) == sorted(Path(clip["path"]).name for clip in good)
    assert all(clip["sha256"] == sha256_file(clip["path"]) for clip in good)
    assert not list((tmp_path / "c").rglob("*/.*"))


def write_intra(path: Path) -> None:
    """Make every frame of a video a keyframe."""
    command = ["-i", str(path), "-c:v", "libx264", "-g", "1", "-crf", "0", f"{path}.new.mp4"]
    run = [ffmpeg_executable(), "-v", "error", *command]
    subprocess.run(run, check=True, timeout=60)
    Path(f"{path}.new.mp4").replace(path)


def test_the_first_of_two_files_stays_and_the_table_has_its_hash(
    tmp_path: Path,
) -> None:
    store, path = ClipStore(tmp_path, "source"), tmp_path / "ab/abcd.mp4"
    assert store.find(path) == ""
    path.parent.mkdir()
    path.write_bytes(b"of another job, from another ffmpeg")
    (tmp_path / "made.mp4").write_bytes(b"ours")
    assert store.put(tmp_path / "made.mp4", path) == sha256_file(path)
    assert path.read_bytes() == b"of another job, from another ffmpeg"
    assert not (tmp_path / "made.mp4").exists()


def test_leftovers_of_killed_jobs_go_after_a_day_and_no_others(tmp_path: Path) -> None:
    long_ago = time.time() - ABANDONED_S - 60
    for name in ("old", "at-work", "young"):
        made = tmp_path / f".scratch-{name}/000000/x.mp4"
        made.parent.mkdir(parents=True)
        made.write_bytes(b"half")
        touched = {"old": (made, made.parent, made.parent.parent), "young": ()}
        for path in touched.get(name, (made.parent, made.parent.parent)):
            os.utime(path, (long_ago, long_ago))
    with scratch_of_job(tmp_path) as scratch:
        scratch.mkdir()
        assert {path.name for path in tmp_path.iterdir()} == {
            *(".scratch-at-work", ".scratch-young", scratch.name)
        }
    assert not scratch.exists()
