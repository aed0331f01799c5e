"""Footage as users have it, from the file to the clips and the copies."""

import random
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.media.decode import iter_frames
from opensora.media.encode import ffmpeg_executable
from opensora.media.probe import probe
from tests.unit.media.footage import (
    MATRICES,
    add_aperture,
    add_pixel_crop,
    disc,
    picture,
    set_matrix,
    square_corner,
    write,
)

BLUE, RED = (40, 80, 120), (190, 170, 60)
TICK = Fraction(1, 90_000)
SHORT_GROUPS = {"g": "12"}
COPIES = ClipSettings(min_s=0.4, max_s=0.6, mode="copy")


def curated(path: Path, settings: ClipSettings) -> pd.DataFrame:
    return split_clips(detect_scenes(ingest_videos([path])), path.parent / "clips", settings)


def recording(path: Path, first: int, count: int, start_s: int, colour=BLUE) -> bytes:  # type: ignore[no-untyped-def]
    """An MPEG-TS of frames at 24 a second, its clock starting anywhere."""
    times = [90_000 * start_s + 3750 * k for k in range(count)]
    frames = [picture(k, colour=colour) for k in range(first, first + count)]
    write(path, frames, container="mpegts", times=times, tick=TICK, options=SHORT_GROUPS)
    return path.read_bytes()


def is_inside_a_picture(packet: bytes) -> bool:
    return (packet[1] & 0x1F) << 8 | packet[2] == 0x100 and not packet[1] & 0x40


@pytest.mark.parametrize("start_s", [0, 3600, 80_000])
def test_joined_recordings_lose_nothing(tmp_path: Path, start_s: int) -> None:
    part = tmp_path / "part"
    data = recording(part, 0, 48, 0) + recording(part, 48, 48, start_s, RED)
    (tmp_path / "joined.ts").write_bytes(data)
    clips = curated(tmp_path / "joined.ts", ClipSettings(min_s=0.5))
    assert list(clips["status"]) == ["ok", "ok"]
    assert list(clips["num_frames"]) == [48, 48]
    assert list(clips["start"]) == [0.0, 2.0]
    assert list(clips["end"]) == [2.0, 4.0]


def test_equal_scenes_are_parted_where_the_clock_restarts(tmp_path: Path) -> None:
    part = tmp_path / "part"
    data = recording(part, 0, 48, 0) + recording(part, 48, 48, 3600)
    (tmp_path / "joined.ts").write_bytes(data)
    assert list(curated(tmp_path / "joined.ts", ClipSettings())["num_frames"]) == [48, 48]


def test_a_lost_packet_costs_what_lies_behind_it(tmp_path: Path) -> None:
    whole = recording(tmp_path / "part", 0, 96, 0)
    places = range(len(whole) * 4 // 5 // 188 * 188, len(whole), 188)
    at = next(place for place in places if is_inside_a_picture(whole[place:]))
    (tmp_path / "lost.ts").write_bytes(whole[:at] + whole[at + 188 :])
    clips = curated(tmp_path / "lost.ts", ClipSettings(min_s=0.5))
    assert list(clips["status"]) == ["ok", "corrupt"]
    assert clips["num_frames"].iloc[0] >= 72
    assert clips["end"].iloc[1] == 4.0


@pytest.mark.parametrize("suffix", ["ts", "mkv", "flv", "avi"])
def test_a_recording_that_was_cut_off_keeps_what_is_there(tmp_path: Path, suffix: str) -> None:
    codec, pixels = ("mjpeg", "yuvj420p") if suffix == "avi" else ("libx264", "yuv420p")
    rng = np.random.default_rng(0)
    frames = [picture(k) // 2 + rng.integers(0, 60, (96, 128, 3), np.uint8) for k in range(72)]
    whole = write(
        tmp_path / f"a.{suffix}", frames, codec=codec, options=SHORT_GROUPS, pixels=pixels
    )
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 3 // 4])
    clips = curated(whole, ClipSettings(min_s=0.5))
    assert clips["status"].iloc[0] == "ok"
    assert 40 <= clips["num_frames"].iloc[0] <= 56
    assert set(clips["status"].iloc[1:]) <= {"corrupt"}


def test_a_recording_of_a_browser_becomes_six_scenes(tmp_path: Path) -> None:
    random.seed(7)
    colours = [BLUE, (200, 40, 40), (20, 90, 20), (240, 220, 60), (60, 10, 90), (120, 200, 250)]
    times = [0]
    while times[-1] < 11_860:
        times.append(times[-1] + random.randint(60, 140))
    path = write(
        *(
            tmp_path / "a.webm",
            [picture(k, colour=colours[t // 2000]) for k, t in enumerate(times)],
        ),
        **{"codec": "libvpx", "rate": 1000, "times": times, "tick": Fraction(1, 1000)},
        options={"deadline": "good", "cpu-used": "4", "lag-in-frames": "0", "b": "4M"},
    )
    clips = curated(path, ClipSettings(min_s=0.5, fps=24))
    assert list(clips["status"]) == ["ok"] * 6
    for row, number in zip(clips.to_dict("records"), range(6), strict=True):
        shown = sum(row["start"] <= time / 1000 < row["end"] for time in times)
        assert shown - 4 <= row["num_frames"] <= shown
        assert row["num_frames"] / row["fps"] == pytest.approx(row["end"] - row["start"], abs=0.15)
        for frame in iter_frames(row["path"]):
            ground = np.median(frame.reshape(-1, 3), axis=0)
            assert np.abs(ground - colours[number]).max() < 12


@pytest.mark.parametrize("name", MATRICES)
def test_copies_are_shown_as_their_source(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.mp4", map(picture, range(48)), options=SHORT_GROUPS)
    set_matrix(path, MATRICES[name])
    wanted = square_corner(next(iter_frames(path)))
    clips = curated(path, COPIES)
    made = clips[clips["status"] == "ok"]
    assert len(made) + (clips["status"] == "copy_failed").sum() == 4
    for copy in made["path"]:
        assert square_corner(next(iter_frames(copy))) == wanted
    encoded = curated(path, ClipSettings())
    assert square_corner(next(iter_frames(encoded["path"].iloc[0]))) == wanted


def test_copies_keep_the_shape_of_pixels(tmp_path: Path) -> None:
    squeezed = [picture(k, 108, 192)[:, np.arange(144) * 4 // 3] for k in range(48)]
    path = write(
        *(tmp_path / "a.mkv", squeezed), pixel=Fraction(4, 3), options={"g": "12", "crf": "8"}
    )
    for settings in (COPIES, ClipSettings(), ClipSettings(short_side=54)):
        clips = curated(path, settings)
        assert set(clips["status"]) == {"ok"}
        scale = (settings.short_side or 108) / 108
        assert set(clips["height"]) == {108 * scale}
        assert set(clips["width"]) == {192 * scale}
        height, width = disc(next(iter_frames(clips["path"].iloc[0])))
        assert abs(height - width) <= 3


@pytest.mark.parametrize("name", ["a.mov", "a.mkv"])
def test_copies_that_lose_the_margins_are_marked(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, map(picture, range(48)), options=SHORT_GROUPS)
    if name == "a.mov":
        add_aperture(path, 80, 112)
    else:
        add_pixel_crop(path, top=8, bottom=8, left=8, right=8)
    copies = curated(path, COPIES)
    for row in copies.to_dict("records"):
        if row["status"] == "ok":  # an ffmpeg that keeps them
            assert (probe(row["path"]).height, probe(row["path"]).width) == (80, 112)
        else:
            assert row["status"] == "copy_failed"
            assert "margins" in row["detail"]
    whole = curated(path, ClipSettings(mode="copy"))  # one scene: the file is the clip
    assert list(whole["path"]) == [str(path)]
    assert [*whole["height"], *whole["width"]] == [80, 112]


def test_av1_is_copied_by_its_own_name(tmp_path: Path) -> None:
    options = ("-g", "12", "-cpu-used", "8", "-usage", "realtime")
    plain = write(tmp_path / "plain.mp4", map(picture, range(48)))
    command = [ffmpeg_executable(), "-v", "error", "-i", str(plain), "-c:v", "libaom-av1"]
    path = tmp_path / "a.mkv"
    subprocess.run([*command, *options, str(path)], check=True, timeout=120)
    assert probe(path).codec == "av1"
    clips = curated(path, COPIES)
    assert list(clips["status"]) == ["ok"] * 4
    assert [probe(copy).num_frames for copy in clips["path"]] == [12] * 4


def test_files_are_found_by_their_content(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for seed, name in enumerate(["film", "MOVI0001.MOD", "00001.dat", "a.vob"]):
        frames = [picture(k + seed) for k in range(6)]
        write(raw / name, frames, codec="mpeg2video", rate=25, container="vob")
    (raw / "notes").write_text("no film")
    (raw / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nfilm\n")
    (raw / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfilm\n")
    rows = ingest_videos([raw])
    found = dict(zip(rows["path"].map(lambda path: Path(path).name), rows["status"], strict=True))
    assert found == {
        **dict.fromkeys(["film", "MOVI0001.MOD", "00001.dat", "a.vob"], "ok"),
        "list.mp4": "not_a_video",
    }
    (tmp_path / "list.csv").write_text("path\nraw/list.m3u8\nraw/film\n")
    rows = ingest_videos([tmp_path / "list.csv"])
    assert list(rows["status"]) == ["not_a_video", "ok"]
    assert "is a playlist" in rows["detail"].iloc[0]


def test_columns_tell_the_stored_and_the_shown_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", [picture(0, 108, 144)] * 3, pixel=Fraction(4, 3))
    row = ingest_videos([path]).iloc[0]
    assert [row["source_height"], row["source_width"], row["height"], row["width"]] == [
        *(108, 144, 108, 192)
    ]
    assert row["sar"] == pytest.approx(4 / 3, abs=1e-6)
