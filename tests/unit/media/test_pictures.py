"""Pictures that decoders give in parts: fields of HEVC, transparency of WebM."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from opensora.core.io import sha256_file
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.media.decode import iter_frames, iter_thumbnails, read_frames
from opensora.media.fields.combs import comb_share
from opensora.media.fields.judged import fields_of
from opensora.media.pictures import frames_of
from opensora.media.probe import probe
from tests.unit.media.test_fields import HEIGHT, WIDTH, picture, woven

COUNT = 30


def write_fields(path: Path, fields: list[np.ndarray], order: str) -> Path:
    """Encode fields as pictures of their own, 50 a second."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx265", rate=50)
        stream.height, stream.width, stream.pix_fmt = *fields[0].shape, "yuv420p"
        options = f"interlace={order}:log-level=none:keyint=12:pools=1:frame-threads=1"
        stream.options = {"x265-params": options, "crf": "10", "preset": "ultrafast"}
        for k, field in enumerate(fields):
            frame = av.VideoFrame.from_ndarray(field, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, 50)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def parted(frames: list[np.ndarray], order: str) -> list[np.ndarray]:
    early = 0 if order == "tff" else 1
    return [frame[row::2] for frame in frames for row in (early, 1 - early)]


def scene_of(path: Path, end: int, fps: int) -> pd.DataFrame:
    scene = {"id": "a_0000", "video_id": "a", "path": str(path), "kind": "video"}
    scene |= {"start_frame": 0, "end_frame": end, "start": 0.0, "end": end / fps}
    return pd.DataFrame([scene | {"sha256": sha256_file(path), "status": "ok", "detail": ""}])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_hevc_of_single_fields_is_woven_and_deinterlaced(
    tmp_path: Path, order: str, suffix: str
) -> None:
    path = write_fields(tmp_path / f"f.{suffix}", parted(woven(order, COUNT), order), order)
    info = probe(path)
    assert (info.num_frames, info.fps, info.height, info.width) == (COUNT, 25, HEIGHT, WIDTH)
    assert (info.interlaced, info.is_variable, info.duration_s) == (True, False, COUNT / 25)
    assert fields_of(path).order == order
    shown = list(iter_frames(path))
    assert len(shown) == len(list(iter_thumbnails(path, 64))) == COUNT
    for k in (0, 7, 20):
        assert np.array_equal(read_frames(path, [k])[0], shown[k])
    # the earlier field is the moment that stays
    wanted = np.stack([picture(2 * k % 40) for k in range(1, COUNT - 1)])
    error = np.stack(shown)[1:-1, ..., 0].astype(float) - wanted
    assert 10 * np.log10(255**2 / (error**2).mean()) > 28


def test_whole_pictures_in_fields_keep_all_their_lines(tmp_path: Path) -> None:
    frames = [picture(2 * k) for k in range(12)]
    path = write_fields(tmp_path / "f.mp4", parted(frames, "tff"), "tff")
    assert not probe(path).interlaced
    error = read_frames(path, range(12))[..., 0].astype(float) - np.stack(frames)
    assert 10 * np.log10(255**2 / (error**2).mean()) > 40


def test_a_field_whose_other_one_is_lost_fills_its_frame(tmp_path: Path) -> None:
    fields = parted([picture(2 * k) for k in range(6)], "tff")
    path = write_fields(tmp_path / "f.mkv", fields[:-1], "tff")
    assert probe(path).num_frames == 6
    last = read_frames(path, [5])[0][..., 0].astype(float)
    assert np.abs(last[::2] - last[1::2]).mean() < 1


def test_clips_of_single_fields_have_no_combs(tmp_path: Path) -> None:
    path = write_fields(tmp_path / "f.mp4", parted(woven("tff", COUNT), "tff"), "tff")
    settings = ClipSettings(min_s=0.5, short_side=128)
    clips = split_clips(scene_of(path, COUNT, fps=25), tmp_path / "store", settings)
    assert clips["status"].tolist() == ["ok"]
    assert clips[["num_frames", "fps", "height"]].to_numpy().tolist() == [[COUNT, 25, 128]]
    with av.open(clips["path"].iloc[0]) as file:
        assert max(map(comb_share, file.decode(video=0))) < 0.002


def write_transparent(path: Path, codec: str) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuva420p"
        stream.options = {"auto-alt-ref": "0", "crf": "10", "g": "10"}
        for k in range(20):
            pixels = np.full((96, 128, 4), (40, 80, 120, 255), np.uint8)
            pixels[:, :64] = 0  # black, and nothing of it is to be seen
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="yuva420p")
            frame.pts, frame.time_base = k, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("codec", "decoder"), [("libvpx", "vp8"), ("libvpx-vp9", "vp9")])
def test_what_is_transparent_in_webm_becomes_white(
    tmp_path: Path, codec: str, decoder: str
) -> None:
    path = write_transparent(tmp_path / "a.webm", codec)
    info = probe(path)
    assert (info.codec, info.num_frames, info.fps) == (decoder, 20, 10)
    for pixels in (*iter_frames(path), *read_frames(path, [19, 3])):
        assert pixels[:, :60].min() >= 253
        assert np.abs(pixels[:, 68:].astype(int) - (40, 80, 120)).max() <= 6


@pytest.mark.parametrize(("mode", "status"), [("reencode", "ok"), ("copy", "copy_failed")])
def test_a_clip_of_transparent_film_is_white_there_or_marked(
    tmp_path: Path, mode: str, status: str
) -> None:
    """A copy into MP4 leaves the transparency behind."""
    path = write_transparent(tmp_path / "a.webm", "libvpx-vp9")
    scene = scene_of(path, 10, fps=10)
    clips = split_clips(scene, tmp_path / "store", ClipSettings(min_s=0.5, mode=mode))
    assert clips["status"].tolist() == [status], clips["detail"].tolist()
    if status == "ok":
        assert read_frames(clips["path"].iloc[0], [3])[0, :, :60].min() >= 250


def test_frames_of_other_codecs_come_as_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for k in range(3):
            frame = av.VideoFrame(128, 96, "yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with av.open(str(path)) as file:
        assert [frame.height for frame in frames_of(file, file.streams.video[0])] == [96] * 3


class Repeating:
    """A container that says after each packet, as Theora does, that its picture stays."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self._container = container

    def demux(self, stream: av.VideoStream) -> Iterator[av.Packet]:
        for packet in self._container.demux(stream):
            yield packet
            if packet.size:
                empty = av.Packet()
                empty.stream, empty.pts, empty.dts = stream, packet.pts, packet.dts
                yield empty


def test_a_picture_that_an_empty_packet_repeats_is_no_end(tmp_path: Path) -> None:
    path = write_fields(tmp_path / "f.mkv", [picture(k) for k in range(COUNT)], "prog")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [frame.pts for frame in frames_of(Repeating(container), stream)]  # type: ignore[arg-type]
    with av.open(str(path)) as container:
        assert times == [frame.pts for frame in container.decode(container.streams.video[0])]
    assert len(times) == COUNT
