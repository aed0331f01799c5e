"""One list of what is opened, told by content; everything else is refused with its reason."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensora.core.errors import VideoError
from opensora.media.container import open_video
from opensora.media.decode import iter_frames, iter_thumbnails, read_frames
from opensora.media.formats import CONTAINERS, content_of, is_media
from opensora.media.probe import probe
from opensora.media.timeline import timeline

from .footage import picture, write

MUXERS = {  # our name of a container -> FFmpeg's name of its writer, codec
    "mov": ("mov", "libx264"),
    "matroska": ("matroska", "libx264"),
    "avi": ("avi", "mpeg4"),
    "mpeg": ("vob", "mpeg2video"),
    "mpegts": ("mpegts", "libx264"),
    "asf": ("asf", "mpeg4"),
    "flv": ("flv", "libx264"),
    "mxf": ("mxf", "mpeg2video"),
    "ogg": ("ogg", "libtheora"),
    "gif": ("gif", "gif"),
}


def film(path: Path, name: str) -> Path:
    muxer, codec = MUXERS[name]
    if codec == "libtheora":
        codec = "libvpx"
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    return write(
        *(path, map(picture, range(10))), codec=codec, rate=25, container=muxer, pixels=pixels
    )


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_known_without_a_suffix(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / "film", name)
    assert content_of(path).container == name
    assert is_media(path)
    info = probe(path)
    assert (info.kind, info.num_frames, info.height) == ("video", 10, 96)
    assert info.fps == 25


def test_transport_streams_of_cameras_have_longer_packets(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.ts", "mpegts").read_bytes()
    packets = [whole[at : at + 188] for at in range(0, len(whole), 188)]
    path = tmp_path / "00001"
    path.write_bytes(b"".join(bytes(4) + packet for packet in packets))
    assert content_of(path).container == "mpegts"
    assert probe(path).num_frames == 10
    (tmp_path / "cut").write_bytes(whole[100:])  # a recording may begin in a packet
    assert content_of(tmp_path / "cut").container == "mpegts"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "avif", "bmp"])
def test_every_picture_is_known_without_a_suffix(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "picture"
    Image.fromarray(picture(0)).save(path, format=kind.upper())
    assert content_of(path).picture == kind.upper()
    info = probe(path)
    assert (info.kind, info.codec, info.height, info.width) == ("image", kind, 96, 128)
    with pytest.raises(VideoError, match="not_a_video"), open_video(path):
        pass


def tiff() -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(0)).save(file, format="TIFF")
    return file.getvalue()


# canaries: each names a film that lies beside it and that nobody named
REFUSED: dict[str, Callable[[str], bytes]] = {
    "a playlist": lambda film: (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{film}\n#EXT-X-ENDLIST\n".encode()
    ),
    "a script that joins files": lambda film: f"ffconcat version 1.0\nfile '{film}'\n".encode(),
    "a session description": lambda film: (
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"
        b"a=rtpmap:96 H264/90000\n"
    ),
    "an index of subtitles": lambda film: b"# VobSub index file, v7 (do not modify this line!)\n",
    "an XML file": lambda film: (
        f'<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>{film}'
        "</BaseURL></Representation></AdaptationSet></Period></MPD>"
    ).encode(),
    "a drawing": lambda film: f'<svg><image href="{film}"/></svg>'.encode(),
    "a PostScript program": lambda film: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "a PDF file": lambda film: b"%PDF-1.7\n",
    "a TIFF picture": lambda film: tiff(),
    "a Photoshop picture": lambda film: b"8BPS\0\1" + bytes(40),
    "a HEIF picture": lambda film: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
}


@pytest.mark.parametrize("suffix", ["mp4", "png", "m3u8", ""])
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_on_the_list_is_refused_by_name(tmp_path: Path, what: str, suffix: str) -> None:
    other = film(tmp_path / "other.ts", "mpegts")
    path = tmp_path / f"canary.{suffix}"
    path.write_bytes(REFUSED[what](other.name))
    assert not is_media(path)
    for door in (probe, timeline, lambda p: list(iter_frames(p)), lambda p: read_frames(p, [0])):
        with pytest.raises(VideoError, match="not_a_video") as caught:
            door(path)
        assert f"{path.name} is {what}" in caught.value.detail
    with pytest.raises(VideoError, match="not_a_video"):
        next(iter_thumbnails(path, 64))


def test_a_pattern_is_only_a_name(tmp_path: Path) -> None:
    for k in range(3):
        Image.fromarray(picture(k)).save(tmp_path / f"frame{k}.png")
    with pytest.raises(VideoError, match="missing"):
        probe(tmp_path / "frame%d.png")
    film(tmp_path / "frame%d.jpg", "mov")
    assert probe(tmp_path / "frame%d.jpg").num_frames == 10


@pytest.mark.parametrize("container", ["wav", "ivf", "yuv4mpegpipe", "h264"])
def test_other_containers_are_no_videos(tmp_path: Path, container: str) -> None:
    path = tmp_path / "a.mp4"
    if container == "wav":
        path.write_bytes(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(200))
    else:
        codec = {"ivf": "libvpx", "h264": "libx264"}.get(container, "rawvideo")
        write(path, map(picture, range(3)), codec=codec, container=container)
    with pytest.raises(VideoError, match="not_a_video") as caught:
        probe(path)
    assert "opened are mov, matroska" in caught.value.detail


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_pictures_that_move_are_films_of_one_kind(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(picture(3 * k)) for k in range(20)]
    path = tmp_path / f"moving.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    info = probe(path)
    assert (info.kind, info.num_frames, info.fps) == ("video", 20, 10)
    assert (info.height, info.width, info.is_variable) == (96, 128, False)
    assert info.duration_s == pytest.approx(2)
    shown = np.stack(list(iter_frames(path)))
    assert np.abs(shown.astype(int) - np.stack([np.asarray(f) for f in frames])).mean() < 8
    some = read_frames(path, [19, 3])
    assert np.array_equal(some, shown[[19, 3]])
    assert np.array_equal(np.stack(list(iter_frames(path, start=5, stop=7))), shown[5:7])
    assert sum(1 for _ in iter_thumbnails(path, 64)) == 20


def test_a_moving_picture_keeps_the_times_of_its_frames(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture(3 * k)) for k in range(4)]
    path = tmp_path / "a.png"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 300, 100, 50])
    ticks, tick_s = timeline(path).ticks()
    assert [float(tick * tick_s) for tick in ticks] == [0.0, 0.1, 0.4, 0.5, 0.6]


def test_the_picture_for_readers_without_movement_is_no_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture(3 * k)) for k in range(4)]
    path = tmp_path / "a.png"
    poster = Image.new("RGB", (128, 96), "white")
    more = {"append_images": frames, "duration": 100, "default_image": True}
    poster.save(path, save_all=True, **more)
    assert probe(path).num_frames == 4
    assert next(iter_frames(path)).mean() < 200


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_a_picture_of_one_frame_is_still(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture(0)).save(path, save_all=True, duration=100)
    assert probe(path).kind == "image"


def test_a_picture_cut_off_in_its_head_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(b"RIFF\x10\0\0\0WEBPVP8X\x0a\0")
    assert content_of(path).picture == "WEBP"
    with pytest.raises(VideoError) as error:
        probe(path)
    assert error.value.reason in ("corrupt", "not_a_video")


def test_what_a_decoder_of_pictures_raises_is_its_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)

    def can_not_decode(image: Image.Image) -> None:
        raise RuntimeError("Failed to decode image: Not implemented")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", can_not_decode)
    with pytest.raises(VideoError, match=r"a\.png is damaged or cut off \(Failed to decode"):
        probe(path)
