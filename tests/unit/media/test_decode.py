"""Frames come back exactly: by index, after seeks, rotated, from every container."""

import os
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from opensora.core.errors import VideoError
from opensora.media.decode import iter_frames, read_frames
from opensora.media.encode import ffmpeg_executable, write_video
from opensora.media.probe import probe
from tests.unit.media import footage
from tests.unit.media.footage import converted, copied_from

NUM_FRAMES = 60


def numbered_frames(num_frames: int = NUM_FRAMES, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame k shows k in its grey value: 4 k."""
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[:] = 4 * np.arange(num_frames)[:, None, None, None]
    return frames


def numbers(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 4) for frame in frames]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decode")
    write_video(folder / "plain.mp4", numbered_frames(), 25, crf=4)
    return folder


# short groups of pictures with B-frames make seeks and reordering matter
CONTAINERS = {
    "gop.mp4": ("-c:v", "libx264", "-g", "7", "-bf", "2", "-crf", "4"),
    "gop.mkv": ("-c:v", "libx264", "-g", "7", "-bf", "2", "-crf", "4"),
    "open.mp4": ("-c:v", "libx264", "-g", "9", "-x264-params", "open-gop=1:bframes=3", "-crf", "4"),
    "vp8.webm": ("-c:v", "libvpx", "-g", "11", "-auto-alt-ref", "1", "-b:v", "2M"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "8", "-q:v", "2"),
    "h264.avi": ("-c:v", "libx264", "-g", "8", "-bf", "2", "-crf", "4"),
    "mpegts.ts": ("-c:v", "libx264", "-g", "10", "-crf", "4"),
    "motion.gif": ("-pix_fmt", "gray"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_its_exact_frames_in_any_order(folder: Path, name: str) -> None:
    path = converted(folder, name, *CONTAINERS[name])
    wanted = [59, 0, 33, 34, 33, 8]
    assert probe(path).num_frames == NUM_FRAMES
    assert numbers(read_frames(path, wanted)) == wanted
    assert numbers(np.stack(list(iter_frames(path)))) == list(range(NUM_FRAMES))


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_range_begins_at_start_and_ends_before_stop(folder: Path, name: str) -> None:
    path = converted(folder, name, *CONTAINERS[name])
    assert numbers(np.stack(list(iter_frames(path, start=29, stop=32)))) == [29, 30, 31]
    assert numbers(np.stack(list(iter_frames(path, start=57)))) == [57, 58, 59]


def test_ranges_outside_the_video_are_empty_and_a_negative_start_is_refused(folder: Path) -> None:
    path = folder / "plain.mp4"
    assert list(iter_frames(path, start=60)) == []
    assert list(iter_frames(path, start=5, stop=5)) == []
    with pytest.raises(ValueError, match="counted from 0"):
        next(iter_frames(path, start=-1))


@pytest.mark.parametrize("indices", [[], [60], [-1]])
def test_indices_the_video_does_not_have_are_refused(folder: Path, indices: list[int]) -> None:
    with pytest.raises(ValueError, match=r"plain\.mp4"):
        read_frames(folder / "plain.mp4", indices)


def test_frames_hidden_by_an_edit_list_are_not_counted(folder: Path) -> None:
    source = converted(folder, "gop.mp4", *CONTAINERS["gop.mp4"])
    path = copied_from(source, "0.4")  # frame 10; the packets before it are not shown
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames > NUM_FRAMES - 10
    shown = numbers(np.stack(list(iter_frames(path))))
    assert shown == list(range(10, NUM_FRAMES))
    assert probe(path).num_frames == len(shown)
    assert numbers(read_frames(path, [30, 0])) == [40, 10]


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int, turns: int) -> None:
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :16] = (255, 255, 255)  # one white corner tells the four rotations apart
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.set_display_rotation(degrees)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    expected = np.rot90(picture, turns)
    info = probe(path)
    assert (info.height, info.width) == expected.shape[:2]
    assert info.rotation == degrees % 360
    frame = read_frames(path, [1])[0]
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 12


def test_full_range_video_keeps_black_and_white(tmp_path: Path, folder: Path) -> None:
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    frames[:, :, 16:] = 255
    write_video(folder / "halves.mp4", frames, 10)
    path = tmp_path / "full.mkv"
    command = [ffmpeg_executable(), "-v", "error", "-i", str(folder / "halves.mp4")]
    options = ["-vf", "scale=in_range=tv:out_range=pc", "-pix_fmt", "yuvj420p", "-c:v", "libx264"]
    subprocess.run([*command, *options, str(path)], check=True, timeout=60)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuvj420p"
        assert container.streams.video[0].frames == 0  # Matroska without a frame count
    frame = read_frames(path, [2])[0]
    assert frame[:, :12].max() <= 3
    assert frame[:, 20:].min() >= 252


def test_frames_that_share_a_packet_of_a_program_are_found(tmp_path: Path) -> None:
    """Only the first frame of a packet has a time; behind a seek the others are guessed."""
    for number, more in enumerate(({"qmin": "20"}, {}, {"flags": "+ildct+ilme"})):
        path = tmp_path / f"{number}.mpg"
        options = {"g": "12", "bf": "0", **more}
        footage.write(path, map(footage.picture, range(50)), codec="mpeg2video", options=options)
        shown = list(iter_frames(path))
        assert len(shown) == 50
        for k in (13, 30, 44, 49):
            assert np.array_equal(read_frames(path, [k])[0], shown[k])
        assert np.array_equal(list(iter_frames(path, start=40, stop=48)), shown[40:48])


def test_resizing_averages_areas(folder: Path) -> None:
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    frames[:, ::2] = 200  # stripes one row wide
    path = folder / "stripes.mp4"
    write_video(path, frames, 10, crf=0)
    small = read_frames(path, [0], size=(8, 16))
    assert small.shape == (1, 8, 16, 3)
    assert np.abs(small.astype(int) - 100).max() <= 3
    assert next(iter_frames(path, size=(8, 16))).shape == (8, 16, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_an_image_is_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    picture = np.full((20, 30, 3), (200, 40, 90), np.uint8)
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(picture).save(path)
    frames = read_frames(path, [0, 0])
    assert frames.shape == (2, 20, 30, 3)
    assert np.abs(frames.astype(int) - picture).max() <= 6
    assert len(list(iter_frames(path))) == 1
    assert list(iter_frames(path, start=1)) == []
    with pytest.raises(ValueError, match="it has 1"):
        read_frames(path, [1])


def test_exif_rotation_transparency_and_16_bit_grey_are_understood(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_frames(tmp_path / "turned.jpg", [0]).shape == (1, 30, 20, 3)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "glass.png")
    assert read_frames(tmp_path / "glass.png", [0]).min() == 255
    Image.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    assert np.unique(read_frames(tmp_path / "deep.png", [0])).tolist() == [128]


def test_damage_in_the_middle_is_an_error_not_a_guess(tmp_path: Path, folder: Path) -> None:
    data = bytearray(converted(folder, "gop.mp4", *CONTAINERS["gop.mp4"]).read_bytes())
    at = data.index(b"mdat") + 4
    data[at : at + 4000] = bytes(4000)
    (tmp_path / "holes.mp4").write_bytes(data)
    with pytest.raises(VideoError) as caught:
        list(iter_frames(tmp_path / "holes.mp4"))
    assert caught.value.reason == "corrupt"


REAL = {  # name -> frames, rate, height, width; counted with ffprobe -count_frames
    "bigbuckbunny.mp4": (132, Fraction(25), 720, 1280),
    "bottle-detection.mp4": (1189, Fraction(179, 6), 360, 640),
    "car-detection.mp4": (377, Fraction(25, 2), 432, 768),
    "sign-walk.mkv": (89, Fraction(30), 480, 640),
}


@pytest.mark.parametrize("name", REAL)
def test_real_clips_are_counted_and_read_exactly(name: str) -> None:
    default = Path(__file__).resolve().parents[4] / "shared" / "data" / "videos"
    path = Path(os.environ.get("OPENSORA_TEST_VIDEOS", default)) / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; OPENSORA_TEST_VIDEOS names the folder of real clips")
    num_frames, _, height, width = REAL[name]
    info = probe(path)
    assert (info.num_frames, info.fps, info.height, info.width) == REAL[name]
    middle = num_frames // 2
    size = (height // 4, width // 4)
    tail = list(iter_frames(path, start=num_frames - 2, size=size))
    frames = read_frames(path, [num_frames - 1, middle, num_frames - 2], size=size)
    assert len(tail) == 2
    assert np.array_equal(tail[1], frames[0])
    assert np.array_equal(tail[0], frames[2])
    if num_frames < 400:  # the second formula, counting from the start, is slow on long clips
        again = next(f for k, f in enumerate(iter_frames(path, size=size)) if k == middle)
        assert np.array_equal(again, frames[1])
