"""What one walk over a file tells: times of frames, places to cut, claims not to be believed."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorTrc

from opensora.core.errors import VideoError
from opensora.media.decode import iter_frames, iter_thumbnails
from opensora.media.encode import write_video
from opensora.media.probe import probe
from opensora.media.timeline import timeline

TICK = Fraction(1, 1000)


def timed(path: Path, times: list[int]) -> Path:
    """A video whose frames appear at these milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.time_base = TICK
        for k, time in enumerate(times):
            pixels = np.full((32, 48, 3), 5 * k, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_evenly_spaced_frames_are_counted_in_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", np.zeros((5, 32, 32, 3), np.uint8), Fraction(30000, 1001))
    ticks, tick_s = timeline(tmp_path / "a.mp4").ticks()
    assert ticks.tolist() == [0, 1, 2, 3, 4, 5]
    assert tick_s == Fraction(1001, 30000)


def test_times_that_are_only_rounded_are_even(tmp_path: Path) -> None:
    path = timed(tmp_path / "a.mkv", [round(k * 1000 / 30) for k in range(40)])
    assert not timeline(path).is_variable
    assert timeline(path).ticks()[0].tolist() == list(range(41))


def test_uneven_frames_keep_their_own_times(tmp_path: Path) -> None:
    path = timed(tmp_path / "a.mkv", [0, 40, 80, 280, 320, 360])
    line = timeline(path)
    ticks, tick_s = line.ticks()
    assert line.is_variable
    assert [float(tick * tick_s) for tick in ticks] == [0.0, 0.04, 0.08, 0.28, 0.32, 0.36, 0.4]
    assert probe(path).duration_s == pytest.approx(0.4)
    assert probe(path).is_variable


def test_times_begin_with_the_first_frame(tmp_path: Path) -> None:
    path = timed(tmp_path / "a.mkv", [500, 540, 580, 780])
    assert timeline(path).ticks()[0].tolist() == [0, 40, 80, 280, 320]


@pytest.mark.parametrize(
    ("curve", "expected"),
    [(ColorTrc.SMPTE2084, True), (ColorTrc.ARIB_STD_B67, True), (ColorTrc.BT709, False)],
)
def test_high_dynamic_range_is_told_by_the_transfer_curve(
    tmp_path: Path, curve: ColorTrc, expected: bool
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p10le"
        stream.codec_context.color_trc = curve
        pixels = np.zeros((32, 48, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    assert (probe(path).hdr, probe(path).pixel_format) == (expected, "yuv420p10le")


def test_a_picture_larger_than_memory_is_refused_unread(tmp_path: Path) -> None:
    screen = struct.pack("<HHBBB", 60_000, 60_000, 0x80, 0, 0) + bytes(6)
    image = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x4c\x01\x00"
    (tmp_path / "huge.gif").write_bytes(b"GIF89a" + screen + image + b";")
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0), b"IDAT"]
    sizes = [struct.pack(">I", len(chunk) - 4) for chunk in chunks]
    sums = [struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    packed = b"".join(b"".join(parts) for parts in zip(sizes, chunks, sums, strict=True))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + packed)
    for name, reason in (("huge.gif", "corrupt"), ("huge.png", "too_large")):
        with pytest.raises(VideoError, match=reason) as caught:
            probe(tmp_path / name)
        assert name in caught.value.detail


def test_thumbnails_are_the_frames_but_small(tmp_path: Path) -> None:
    frames = np.zeros((6, 120, 160, 3), np.uint8)
    frames[:, :, :80] = (200, 60, 40)
    frames[3:] //= 2
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
        stream.set_display_rotation(90)
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    small = np.stack(list(iter_thumbnails(tmp_path / "a.mp4", 40)))
    assert small.shape == (6, 40, 30, 3)
    expected = np.stack(list(iter_frames(tmp_path / "a.mp4", size=(40, 30))))
    inner = np.abs(small.astype(int) - expected)[:, [*range(17), *range(23, 40)]]
    assert inner.max() <= 4
    assert next(iter_thumbnails(tmp_path / "a.mp4", 999)).shape == (160, 120, 3)
