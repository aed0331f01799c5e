"""Rates and lengths come from the times of frames, whatever the header claims."""

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensora.media.clock import continuous_times, rate_of
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
