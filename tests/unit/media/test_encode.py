"""Written videos play in a browser, are whole, and show what was given."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from opensora.core.errors import OpenSoraError
from opensora.demo.render import render_film
from opensora.demo.world import plan_film
from opensora.media.decode import read_frames
from opensora.media.encode import exact_fps, ffmpeg_executable, write_video
from opensora.media.probe import probe


def colours(num_frames: int = 3, height: int = 32, width: int = 32) -> np.ndarray:
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[:, :, : width // 2] = (229, 57, 53)
    frames[:, :, width // 2 :] = (30, 100, 229)
    return frames


def test_colours_survive_the_way_to_the_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, colours(), 8, crf=1)
    seen = read_frames(path, [0, 1, 2]).astype(int)
    assert np.abs(seen[:, 8, 8] - (229, 57, 53)).max() <= 4
    assert np.abs(seen[:, 24, 24] - (30, 100, 229)).max() <= 4


def test_the_file_is_what_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, colours(), Fraction(30000, 1001))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # index first: plays while it loads
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (int(context.colorspace), int(context.color_range)) == (1, 1)  # BT.709, limited


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    write_video(path, colours(2, 31, 33), 8, crf=1)
    info = probe(path)
    assert (info.height, info.width) == (32, 34)
    frame = read_frames(path, [0])[0].astype(int)
    assert np.abs(frame[31] - frame[30]).max() <= 3


def test_equal_frames_give_equal_bytes_and_a_lower_crf_a_larger_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    for name, crf in (("a", 18), ("b", 18), ("c", 30)):
        write_video(tmp_path / f"{name}.mp4", noise, 8, crf=crf)
    files = [(tmp_path / f"{name}.mp4").read_bytes() for name in "abc"]
    assert files[0] == files[1]
    assert len(files[2]) < len(files[0])


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 32, 32), np.uint8),
        np.zeros((4, 32, 32, 3), np.float32),
        np.zeros((0, 32, 32, 3), np.uint8),
        np.zeros((4, 3, 32, 32), np.uint8),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(tmp_path: Path, frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_video(tmp_path / "clip.mp4", frames, 8)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OpenSoraError, match="is a file and a folder is needed there"):
        write_video(tmp_path / "file" / "clip.mp4", colours(), 8)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (8, Fraction(8)),
        (12.5, Fraction(25, 2)),
        (29.97, Fraction(30000, 1001)),
        (23.976023976, Fraction(24000, 1001)),
        (Fraction(179, 6), Fraction(179, 6)),
        (179 / 6, Fraction(179, 6)),
    ],
)
def test_a_rate_becomes_the_fraction_it_stands_for(
    rate: float | Fraction, expected: Fraction
) -> None:
    assert exact_fps(rate) == expected


@pytest.mark.parametrize("rate", [0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        exact_fps(rate)


def test_an_ffmpeg_is_found() -> None:
    assert Path(ffmpeg_executable()).is_file()


@pytest.mark.parametrize("index", [2, 21])
def test_equal_frames_give_equal_bytes_at_sizes_that_x264_gets_wrong(
    index: int, tmp_path: Path
) -> None:
    film = plan_film(42, index, 10, path="film.mp4")
    frames = render_film(film)[:240]
    assert {film.height, film.width} in ({96, 160}, {108, 180})
    for number in range(10):
        keep = [np.random.default_rng(k).random(50_000 + number * 1000) for k in range(50)]
        del keep  # leaves other values in the memory that the encoder gets
        write_video(tmp_path / f"{number}.mp4", frames, film.fps, crf=16)
    assert len({path.read_bytes() for path in tmp_path.glob("*.mp4")}) == 1
