"""Windows through the index of a file: the same frames as counting, and less work."""

from pathlib import Path

import av
import numpy as np
import pytest

from opensora.core.errors import VideoError
from opensora.media import decode, indexed
from opensora.media.container import open_video
from opensora.media.decode import iter_frames, iter_wanted, read_frames
from opensora.media.encode import write_video
from opensora.media.indexed import FrameIndex, read_frame_index
from tests.unit.media.footage import converted, copied_from

NUM_FRAMES = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain.mp4`: noise that moves, so that every frame differs and B-frames are used."""
    folder = tmp_path_factory.mktemp("indexed")
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (48, 48 + NUM_FRAMES, 3), np.uint8)
    frames = np.stack([texture[:, k : k + 48] for k in range(NUM_FRAMES)])
    write_video(folder / "plain.mp4", frames, 25, crf=20)
    return folder


def index_of(path: Path) -> FrameIndex | None:
    with open_video(path) as (container, stream):
        return read_frame_index(container, stream)


def whole(path: Path) -> np.ndarray:
    return np.stack(list(iter_frames(path)))


H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
INDEXED = {
    "gop.mp4": (*H264, "-g", "7", "-bf", "3"),
    "intra.mp4": (*H264, "-g", "1"),
    "plain.mov": (*H264, "-g", "12", "-bf", "2"),
    "hevc.mp4": ("-c:v", "libx265", "-x265-params", "keyint=15:bframes=3:log-level=none"),
}


@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("wanted", [[0], [59], [5, 6, 7, 8], [3, 17, 31, 58], [20, 23, 26, 29]])
def test_the_index_gives_the_frames_that_counting_gives(folder, monkeypatch, name, wanted):
    path = converted(folder, name, *INDEXED[name])
    expected = whole(path)[wanted]
    # the slow way must not be taken
    monkeypatch.setattr(decode, "timeline", lambda path: pytest.fail("counted packets"))
    assert np.array_equal(read_frames(path, wanted), expected)


def test_keyframes_and_times_are_those_of_the_file(folder):
    path = converted(folder, "gop.mp4", *INDEXED["gop.mp4"])
    index = index_of(path)
    assert index is not None
    assert index.num_frames == NUM_FRAMES
    assert index.keys[:3].tolist() == [0, 7, 14]
    with av.open(str(path)) as container:
        times = sorted(frame.pts for frame in container.decode(video=0))
    assert [index.time(k) for k in range(NUM_FRAMES)] == times
    assert index.has(times[-1])
    assert not index.has(times[-1] + 1)
    assert not index.has(times[-1] + index.step)
    assert not index.has(None)
    assert index.runs([0, 6, 7, 13, 14]) == [[0, 6], [7, 13], [14]]


UNTOLD = {
    "matroska.mkv": (*H264,),  # lists keyframes only
    "uneven.mp4": (*H264, "-vf", "select='not(eq(n,20))'", "-fps_mode", "vfr"),
    "mpeg4.mp4": ("-c:v", "mpeg4", "-bf", "2"),  # a packet may hold two frames
    "fragments.mp4": (*H264, "-movflags", "frag_keyframe+empty_moov", "-g", "10"),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_files_whose_index_says_too_little_are_counted(folder, name):
    path = converted(folder, name, *UNTOLD[name])
    assert index_of(path) is None
    wanted = [30, 31, 50]
    assert np.array_equal(read_frames(path, wanted), whole(path)[wanted])


def test_frames_that_an_edit_list_hides_are_not_numbered(folder):
    source = converted(folder, "gop.mp4", *INDEXED["gop.mp4"])
    path = copied_from(source, "0.4")
    assert index_of(path) is None
    assert np.array_equal(read_frames(path, [0, 9]), whole(source)[[10, 19]])


def test_a_wrong_index_is_noticed_and_the_frames_are_counted(folder, monkeypatch):
    path = converted(folder, "gop.mp4", *INDEXED["gop.mp4"])
    expected = whole(path)
    true_index = index_of(path)
    for lie in ({"step": 7}, {"first": true_index.first + 1}):
        wrong = FrameIndex(**{**vars(true_index), **lie})
        monkeypatch.setattr(indexed, "read_frame_index", lambda *_, wrong=wrong: wrong)
        found = dict(iter_wanted(path, [16, 17, 40]))  # the last of equal numbers counts
        assert all(np.array_equal(found[k].pixels, expected[k]) for k in (16, 17, 40))


def test_frames_that_nothing_builds_on_are_not_decoded(folder, monkeypatch):
    options = ("-g", "60", "-bf", "3", "-x264-params", "b-adapt=0:b-pyramid=0")
    path = converted(folder, "long.mp4", *H264, *options)
    expected = whole(path)[[50]]
    decoded = []

    class Spy:
        def __init__(self, packet):
            self.packet = packet

        def __getattr__(self, name):
            return getattr(self.packet, name)

        def decode(self):
            frames = self.packet.decode()
            decoded.extend(frames)
            return frames

    packets_before = indexed._packets_before
    monkeypatch.setattr(indexed, "_packets_before", lambda *a: map(Spy, packets_before(*a)))
    assert np.array_equal(read_frames(path, [50]), expected)
    # I BBB P BBB P ...: every fourth frame up to 52, and frame 50 itself
    assert len(decoded) <= 52 / 4 + 2


def test_a_cut_off_file_gives_what_is_there_and_refuses_the_rest(folder, tmp_path):
    source = folder / "plain.mp4"  # its index comes first
    (tmp_path / "cut.mp4").write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    assert np.array_equal(read_frames(tmp_path / "cut.mp4", [3]), whole(source)[[3]])
    with pytest.raises(VideoError, match="cut off"):
        read_frames(tmp_path / "cut.mp4", [59])
