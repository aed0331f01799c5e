"""Rates and lengths come from the times of frames, whatever the header claims."""

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opensora.core.io import sha256_file
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.media.clock import continuous_times, has_pulldown, is_uneven, rate_of
from opensora.media.decode import iter_frames
from opensora.media.probe import probe
from opensora.media.timeline import timeline

from .footage import copy, picture, write

MS = Fraction(1, 1000)
NTSC = Fraction(30_000, 1001)


def drop_default_duration(path: Path) -> None:
    """Blank the element that holds the frame's usual length: browsers write none."""
    data = bytearray(path.read_bytes())
    at = data.find(bytes.fromhex("23e383"))
    length = 4 + (data[at + 3] & 0x7F)
    data[at : at + length] = bytes([0xEC, 0x80 | (length - 2)]) + bytes(length - 2)  # Void
    path.write_bytes(data)


def test_a_recording_of_a_browser_has_the_rate_of_its_frames(tmp_path: Path) -> None:
    random.seed(7)
    times = [0]
    while times[-1] < 6000:
        times.append(times[-1] + random.randint(60, 140))
    options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
    path = write(
        *(tmp_path / "screen.webm", map(picture, range(len(times)))),
        **{"codec": "libvpx", "rate": 30, "times": times, "tick": MS, "options": options},
    )
    drop_default_duration(path)
    info = probe(path)
    assert info.is_variable
    assert info.num_frames == len(times)
    assert float(info.fps) == pytest.approx((len(times) - 1) / times[-1] * 1000, rel=1e-4)
    assert info.duration_s == pytest.approx(times[-1] / 1000 + 0.1, abs=0.05)


@pytest.mark.parametrize("suffix", ["mkv", "webm", "ts", "flv", "mp4"])
def test_even_frames_under_a_header_of_another_rate_keep_theirs(
    tmp_path: Path, suffix: str
) -> None:
    # the encoder is told 30 a second, the frames come every 100 ms
    codec = "libvpx" if suffix == "webm" else "libx264"
    path = write(
        *(tmp_path / f"slow.{suffix}", map(picture, range(24))),
        **{
            "codec": codec,
            "rate": 30,
            "times": [3 * k for k in range(24)],
            "tick": Fraction(1, 30),
        },
    )
    info = probe(path)
    assert (info.fps, info.is_variable) == (10, False)
    assert info.duration_s == pytest.approx(2.4)


def test_h264_in_avi_has_the_rate_of_its_pictures(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", map(picture, range(40)), rate=30)
    path = copy(source, tmp_path / "a.avi", notes="h264_mp4toannexb")
    info = probe(path)
    assert (info.fps, info.num_frames, info.is_variable) == (30, 40, False)
    assert info.duration_s == pytest.approx(40 / 30)


def test_the_last_frame_of_a_gif_does_not_slow_the_others(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture(3 * k)) for k in range(20)]
    durations = [100] * 19 + [3000]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations)
    info = probe(path)
    assert (info.fps, info.num_frames, info.is_variable) == (10, 20, False)


@pytest.mark.parametrize("fps", [Fraction(24), NTSC, Fraction(60_000, 1001), Fraction(25, 2)])
@pytest.mark.parametrize("tick", [MS, Fraction(1, 90_000)])
def test_rounded_times_give_the_exact_rate(fps: Fraction, tick: Fraction) -> None:
    times = np.array([round(k / fps / tick) for k in range(400)])
    assert rate_of(times, tick, ()) == fps
    assert rate_of(times, tick, (Fraction(1000), fps)) == fps


@pytest.mark.parametrize("jump", [-47_000, 3_600_000])
def test_a_clock_that_restarts_or_jumps_makes_no_frame_stand(jump: int) -> None:
    times = np.arange(0, 4000, 40)
    times[50:] += jump
    shown, breaks = continuous_times(times, 10_000)
    assert shown is not None
    assert np.diff(shown).tolist() == [40] * 99
    assert breaks.tolist() == [50]


def test_times_that_are_mostly_nonsense_are_none() -> None:
    assert continuous_times(np.array([2, 8, 6, 10, 4, 16, 14, 18]), 1000)[0] is None


def test_a_film_that_jumps_an_hour_lasts_as_long_as_its_frames(tmp_path: Path) -> None:
    times = [40 * k + (7_200_000 if k >= 30 else 0) for k in range(60)]
    path = write(tmp_path / "a.mkv", map(picture, range(60)), times=times, tick=MS, rate=25)
    info = probe(path)
    assert (info.fps, info.num_frames) == (25, 60)
    assert info.duration_s == pytest.approx(2.4)
    assert timeline(path).breaks.tolist() == [30]


def test_a_slide_that_stands_a_minute_stands_a_minute(tmp_path: Path) -> None:
    times = [0, 40, 80, 60_080, 60_120, 60_160]
    path = write(tmp_path / "a.mkv", map(picture, range(6)), times=times, tick=MS, rate=25)
    assert probe(path).duration_s == pytest.approx(60.2)


def test_a_capture_with_dropped_frames_keeps_their_time(tmp_path: Path) -> None:
    # AVI has no times: a program that drops a frame leaves its place empty
    times = [*range(10), *range(15, 40)]
    path = write(
        *(tmp_path / "a.avi", map(picture, times)),
        **{"codec": "mjpeg", "rate": 20, "times": times, "tick": Fraction(1, 20)},
        pixels="yuvj420p",
    )
    info = probe(path)
    assert (info.num_frames, info.is_variable) == (35, True)
    assert info.duration_s == pytest.approx(40 / 20)


def repeated_fields(path: Path, count: int) -> Path:
    """MPEG-2 of 24000/1001 pictures a second that notes which field is shown again, as DVDs do."""
    raw = path.with_suffix(".m2v")
    with av.open(str(raw), "w", format="mpeg2video") as file:
        stream = file.add_stream("mpeg2video", rate=Fraction(24_000, 1001))
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.options = {"qmin": "2", "qmax": "2", "bf": "0", "g": "12"}
        for k in range(count):
            frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1001, 24_000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    data, at, number = bytearray(raw.read_bytes()), 0, 0

    def note(bit: int, value: int) -> None:
        mask = 0x80 >> bit % 8
        place = at + 4 + bit // 8
        data[place] = data[place] | mask if value else data[place] & ~mask

    while (at := data.find(b"\0\0\1", at)) >= 0:
        kind, first = data[at + 3], data[at + 4] >> 4
        if kind == 0xB3:  # sequence: 30000/1001 a second
            for bit, value in enumerate((0, 1, 0, 0)):
                note(28 + bit, value)
        elif kind == 0xB5 and first == 1:  # its extension: not progressive
            note(12, 0)
        elif kind == 0xB5 and first == 8:  # picture: top first, repeat first, progressive
            turn = ((1, 1), (0, 0), (0, 1), (1, 0))[number % 4]
            for bit, value in ((24, turn[0]), (30, turn[1]), (31, 1), (32, 1)):
                note(bit, value)
            number += 1
        at += 4
    raw.write_bytes(data)
    with (
        av.open(str(raw), format="mpegvideo", options={"fflags": "+genpts"}) as old,
        av.open(str(path), "w", format="vob" if path.suffix == ".vob" else None) as new,
    ):
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return path


@pytest.mark.parametrize("name", ["film.mpg", "film.mkv", "film.vob"])
def test_film_by_repeat_flags_is_its_pictures(tmp_path: Path, name: str) -> None:
    path = repeated_fields(tmp_path / name, 48)
    info = probe(path)
    assert (info.num_frames, info.fps, info.interlaced) == (48, Fraction(24_000, 1001), False)
    assert not info.is_variable
    assert info.duration_s == pytest.approx(2.002, abs=1e-6)
    scenes = {"id": "v_0000", "video_id": "v", "path": str(path), "kind": "video"}
    scenes |= {"sha256": sha256_file(path), "start": 0.0, "end": 2.002, "start_frame": 0}
    table = pd.DataFrame([scenes | {"end_frame": 48, "status": "ok", "detail": ""}])
    clips = split_clips(table, tmp_path / "clips", ClipSettings(min_s=0.5))
    assert clips["num_frames"].tolist() == [48]
    frames = np.stack(list(iter_frames(clips["path"][0]))).astype(int)
    assert np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).min() > 1  # none is shown twice


def test_pulldown_is_told_from_unevenness() -> None:
    turns = np.cumsum([0, *[3003, 4504] * 20])
    assert has_pulldown(turns)
    assert not is_uneven(turns)
    assert rate_of(turns, Fraction(1, 90_000), (NTSC,)) == Fraction(24_000, 1001)
    edited = np.cumsum([0, *[33, 50] * 10, 50, *[33, 50] * 10])  # the turns break once
    assert has_pulldown(edited)
    for steps in ([33, 34] * 20, [33, 66] * 20, [33, 33, 50] * 14, [33] * 40, [40, 50, 60] * 12):
        assert not has_pulldown(np.cumsum([0, *steps]))
