"""Probing tells exact facts, and names what is wrong with a file."""

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from opensora.core.errors import VideoError
from opensora.media.decode import iter_frames
from opensora.media.encode import write_video
from opensora.media.probe import IMAGE_SUFFIXES, VIDEO_SUFFIXES, probe
from opensora.media.timeline import timeline


def grey(num_frames: int, height: int = 32, width: int = 48) -> np.ndarray:
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[:] = np.arange(num_frames)[:, None, None, None]
    return frames


def reason_of(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert path.name in caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("fps", [Fraction(12), Fraction(30000, 1001), Fraction(25, 2)])
def test_facts_of_a_video_are_exact(tmp_path: Path, fps: Fraction) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, grey(31), fps)
    info = probe(str(path))
    assert (info.kind, info.num_frames, info.fps) == ("video", 31, fps)
    assert (info.height, info.width, info.codec, info.rotation) == (32, 48, "h264", 0)
    assert info.duration_s == pytest.approx(31 / float(fps))


def test_an_image_has_one_frame_at_one_frame_a_second(tmp_path: Path) -> None:
    path = tmp_path / "picture.PNG"
    Image.new("RGB", (30, 20)).save(path)
    info = probe(path)
    assert (info.kind, info.num_frames, info.fps, info.duration_s) == ("image", 1, 1, 1.0)
    assert (info.height, info.width, info.codec) == (20, 30, "png")


def test_suffixes_name_each_kind_once() -> None:
    assert not IMAGE_SUFFIXES & VIDEO_SUFFIXES
    assert ".gif" in VIDEO_SUFFIXES


def test_files_that_are_no_videos_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is a text\n" * 20)
    (tmp_path / "text.png").write_text("this is a text\n" * 20)
    (tmp_path / "folder.mp4").mkdir()
    assert reason_of(tmp_path / "absent.mp4") == "missing"
    assert reason_of(tmp_path / "absent.png") == "missing"
    assert reason_of(tmp_path / "empty.mp4") == "empty_file"
    assert reason_of(tmp_path / "text.mp4") == "not_a_video"
    assert reason_of(tmp_path / "text.png") == "not_a_video"
    assert reason_of(tmp_path / "folder.mp4") == "unreadable"


@pytest.mark.parametrize(
    ("target", "said"),
    [("b.mp4", "a link to b.mp4, which does not exist"), ("a.mp4", "a link in a circle")],
)
def test_a_link_without_a_file_says_where_it_leads(tmp_path: Path, target: str, said: str) -> None:
    (tmp_path / "a.mp4").symlink_to(target)
    with pytest.raises(VideoError, match=f"a.mp4 is {said}"):
        probe(tmp_path / "a.mp4")


def test_the_content_tells_the_kind_not_the_name(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "still.png")
    (tmp_path / "still.png").rename(tmp_path / "still.mp4")
    write_video(tmp_path / "film.mp4", grey(5), 10)
    (tmp_path / "film.mp4").rename(tmp_path / "film.jpg")
    assert (probe(tmp_path / "still.mp4").kind, probe(tmp_path / "still.mp4").codec) == (
        "image",
        "png",
    )
    assert (probe(tmp_path / "film.jpg").kind, probe(tmp_path / "film.jpg").num_frames) == (
        "video",
        5,
    )


def test_a_playlist_does_not_make_the_reader_follow_it(tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    assert reason_of(path) == "not_a_video"


def test_an_audio_file_has_no_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert reason_of(path) == "no_video_stream"


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.97])
def test_a_file_cut_off_anywhere_is_corrupt(tmp_path: Path, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    path = tmp_path / "whole.mp4"
    write_video(path, noise, 10)
    data = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * kept)])
    assert reason_of(cut) == "corrupt"
    Image.fromarray(noise[0]).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: int(len(data) * kept)])
    assert reason_of(tmp_path / "cut.png") == "corrupt"


def test_a_rewritten_file_is_probed_anew(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, grey(5), 10)
    assert probe(path).num_frames == 5
    write_video(path, grey(9), 10)
    assert probe(path).num_frames == 9


def test_reading_a_long_video_needs_memory_for_few_frames(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_video(path, grey(200, 128, 128), 25)
    frame_bytes = 128 * 128 * 3
    timeline(path)
    tracemalloc.start()
    assert sum(1 for _ in iter_frames(path)) == 200
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * frame_bytes
