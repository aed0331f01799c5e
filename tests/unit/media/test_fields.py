"""Interlaced films, flagged and not, and whole ones that look interlaced, made here."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont

from opensora.core.io import sha256_file
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.curation.scores.seen import read_seen
from opensora.media.decode import iter_frames, iter_thumbnails, read_frames
from opensora.media.fields import judged as fields
from opensora.media.fields.combs import comb_share
from opensora.media.fields.judged import fields_of
from opensora.media.fields.whole import deinterlaced
from opensora.media.probe import probe
from opensora.media.timeline import timeline

HEIGHT, WIDTH, COUNT = 192, 256, 40
INTERLACED = {"flags": "+ildct+ilme"}
FINE = {"qmin": "2", "qmax": "2"}


def picture(field: float, slow: float = 3.0) -> np.ndarray:
    """A striped disc that moves to the right by 3 pixels a field."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    x = x - 20 - slow * field
    stripes = 130 + 90 * np.sin(x / 3.0)
    wall = 90 + 20 * np.sin(y / 11.0)
    return np.where((x - 30) ** 2 + (y - 96) ** 2 < 40**2, stripes, wall).astype(np.uint8)


def weave(first: np.ndarray, second: np.ndarray, order: str) -> np.ndarray:
    frame = first.copy()
    late = 1 if order == "tff" else 0
    frame[late::2] = second[late::2]
    return frame


def woven(order: str, count: int = COUNT) -> list[np.ndarray]:
    return [weave(picture(2 * k % 40), picture(2 * k % 40 + 1), order) for k in range(count)]


def pulldown(count: int) -> list[np.ndarray]:
    fields = [k % 24 for k in range(count) for _ in range(2 + k % 2)]
    pairs = zip(fields[::2], fields[1::2], strict=True)
    return [weave(picture(2 * a), picture(2 * b), "tff") for a, b in pairs]


def scrolling_text(size: int, count: int = COUNT) -> list[np.ndarray]:
    page = Image.new("L", (WIDTH, HEIGHT + 2 * count), 255)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    for line in range(page.height // (size + 8) + 1):
        draw.text((6, (size + 8) * line), f"{line} quick brown foxes", fill=0, font=font)
    tall = np.asarray(page)
    return [tall[2 * k : 2 * k + HEIGHT].copy() for k in range(count)]


def write(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    order: str = "",
    rate: int = 25,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Encode grey pictures; only a filter can flag a frame's fields."""
    graph = None
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        images = list(frames)
        (stream.height, stream.width), stream.pix_fmt = images[0].shape, pixels
        stream.options = {**(INTERLACED if order else {}), **(options or {"crf": "14"})}
        for k, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="gray").reformat(format=pixels)
            frame.pts, frame.time_base = k, Fraction(1, rate)
            if order:
                if graph is None:
                    graph = av.filter.Graph()
                    source = graph.add_buffer(template=frame, time_base=frame.time_base)
                    nodes = (source, graph.add("setfield", order), graph.add("buffersink"))
                    graph.link_nodes(*nodes)
                    graph.configure()
                graph.vpush(frame)
                frame = graph.vpull()
                frame.pict_type = 0
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def combs(frame: np.ndarray) -> float:
    """Share of the pixels in rows that alternate."""
    steps = np.diff(frame[..., 1].astype(int), axis=0)
    up, down = steps > 8, steps < -8
    found = (up[:-2] & down[1:-1] & up[2:]) | (down[:-2] & up[1:-1] & down[2:])
    return float(found.mean())


def places(frames: np.ndarray) -> np.ndarray:
    """Where the bright stripes of the disc stand, in the middle of the picture."""
    rows = frames[:, HEIGHT // 2 - 8 : HEIGHT // 2 + 8, :, 1] > 170
    return np.array([np.flatnonzero(row.any(axis=0)).mean() for row in rows])


KINDS = {
    "top.mp4": ("tff", {"order": "tff"}),
    "bottom.mp4": ("bff", {"order": "bff"}),
    "top.mpg": ("tff", {"order": "tff", "codec": "mpeg2video", "options": FINE}),
    "bottom.mpg": ("bff", {"order": "bff", "codec": "mpeg2video", "options": FINE}),
    "unflagged.mp4": ("bff", {}),
    "captured.avi": ("tff", {"codec": "mjpeg", "pixels": "yuvj420p", "options": FINE}),
    "deep.mkv": ("tff", {"codec": "ffv1", "pixels": "yuv422p10le", "options": {"level": "3"}}),
}


@pytest.mark.parametrize("name", KINDS)
def test_fields_become_whole_pictures_on_all_ways(tmp_path: Path, name: str) -> None:
    order, how = KINDS[name]
    path = write(tmp_path / name, woven(order), **how)
    info = probe(path)
    assert (info.interlaced, info.pulldown, info.num_frames) == (True, False, COUNT)
    assert fields_of(path).order == order
    frames = np.stack(list(iter_frames(path)))
    assert len(frames) == COUNT  # none is lost at the end
    assert max(combs(frame) for frame in frames) < 0.001
    moves = np.delete(np.diff(places(frames)), 19)  # there it begins anew
    assert moves.min() > 0  # with the wrong field first it jumps back
    wanted = [0, 1, 11, 12, 13, COUNT - 2, COUNT - 1]  # windows of one frame, at ends and keyframes
    for index in wanted:
        assert np.array_equal(read_frames(path, [index])[0], frames[index])
    assert np.array_equal(read_frames(path, wanted), frames[wanted])
    assert np.array_equal(np.stack(list(iter_frames(path, start=17, stop=23))), frames[17:23])
    assert np.array_equal(np.stack(list(iter_thumbnails(path, 1000))), frames)


@pytest.mark.parametrize("name", ["whole.mp4", "text.mp4", "small_text.mp4"])
def test_whole_pictures_keep_all_their_lines(tmp_path: Path, name: str) -> None:
    """In a stream flagged as interlaced; and text that `idet` takes for fields."""
    pictures = [picture(2 * k % 40) for k in range(COUNT)]
    if name != "whole.mp4":
        pictures = scrolling_text(32 if name == "text.mp4" else 12)
    order = "tff" if name == "whole.mp4" else ""
    path = write(tmp_path / name, pictures, order=order, options={"crf": "8"})
    assert not probe(path).interlaced
    frames = np.stack(list(iter_frames(path)))[..., 1].astype(float)
    errors = ((frames - np.stack(pictures)) ** 2).mean(axis=(1, 2))
    assert 10 * np.log10(255**2 / errors.max()) > 40


def test_a_short_file_that_is_decoded_once_is_judged_as_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for held in (1 << 30, 0):
        monkeypatch.setattr(fields, "_HELD_BYTES", held)
        fields._fields_of.cache_clear()
        for k, frames in enumerate((woven("tff"), pulldown(COUNT), scrolling_text(12))):
            path = tmp_path / f"{k}.mp4"
            if not path.exists():
                write(path, frames)
            found.append((fields_of(path), len(fields._held(path)) > 0))
    judged, decoded = zip(*found, strict=True)
    assert judged[:3] == judged[3:]
    assert judged[0].order == "tff"
    assert decoded == (True,) * 3 + (False,) * 3


def test_film_in_fields_is_told_and_has_no_combs(tmp_path: Path) -> None:
    path = write(
        *(tmp_path / "film.mpg", pulldown(48)),
        **{"codec": "mpeg2video", "order": "tff", "rate": 30, "options": FINE},
    )
    info = probe(path)
    assert (info.interlaced, info.pulldown, info.num_frames) == (True, True, 60)
    assert max(combs(frame) for frame in iter_frames(path)) < 0.001


def test_times_and_numbers_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "top.mp4", woven("tff"), order="tff")
    with av.open(str(path)) as file:
        stored = list(file.decode(video=0))
        assert min(comb_share(frame) for frame in stored) > 0.01
        made = list(deinterlaced(enumerate(stored), fields_of(path)))
    assert [index for index, _ in made] == list(range(COUNT))
    assert [frame.time for _, frame in made] == [frame.time for frame in stored]
    assert timeline(path).fps == 25


@pytest.mark.parametrize("keys", ["10", "250"])
def test_a_still_start_does_not_hide_fields(tmp_path: Path, keys: str) -> None:
    """The first frames show no combs; reading meets the first later."""
    pictures = [picture(0)] * 30 + woven("tff", 30)
    path = write(tmp_path / "late.mp4", pictures, options={"crf": "14", "g": keys})
    assert probe(path).interlaced
    frames = np.stack(list(iter_frames(path)))
    assert len(frames) == 60
    assert max(combs(frame) for frame in frames) < 0.001
    assert np.array_equal(read_frames(path, [29, 30, 31]), frames[29:32])
    psnr = 10 * np.log10(255**2 / ((frames[5, ..., 1] - picture(0).astype(float)) ** 2).mean())
    assert psnr > 36  # what stands still keeps its lines


@pytest.mark.parametrize("mode", ["reencode", "copy"])
def test_clips_have_no_combs(tmp_path: Path, mode: str) -> None:
    # packets of fields that are flagged are not parted
    path = write(tmp_path / "top.mp4", woven("tff"), options={"crf": "14", "g": "20"})
    scene = {"id": "v_0000", "video_id": "v", "path": str(path), "kind": "video"}
    scene |= {"sha256": sha256_file(path), "start": 0.8, "end": 1.6, "start_frame": 20}
    scenes = pd.DataFrame([scene | {"end_frame": 40, "status": "ok", "detail": ""}])
    clips = split_clips(scenes, tmp_path / "clips", ClipSettings(min_s=0.5, mode=mode))
    assert clips[["status", "num_frames"]].to_numpy().tolist() == [["ok", 20]]
    made = clips["path"][0]
    assert probe(made).interlaced == (mode == "copy")
    frames = list(iter_frames(made))
    assert len(frames) == 20
    assert max(combs(frame) for frame in frames) < 0.001
    seen = read_seen(made, [7, 8], source=path)
    assert all(np.array_equal(s.rgb, frame) for s, frame in zip(seen, frames[7:9], strict=True))


def test_pieces_are_judged_by_what_they_were_cut_from(tmp_path: Path) -> None:
    piece = write(tmp_path / "piece.mp4", woven("tff"))
    whole = write(tmp_path / "whole.mp4", scrolling_text(12))

    def share(source: Path | None) -> float:
        return combs(read_seen(piece, [12], source=source)[0].rgb)

    assert share(None) < 0.001
    assert share(tmp_path / "lost.mp4") < 0.001
    fields._fields_of.cache_clear()
    assert share(whole) > 0.01  # as it is: whole pictures look like this where text scrolls
    assert fields._fields_of.cache_info().misses == 1  # of the source, for all that is cut from it


def test_of_many_pieces_no_frame_is_looked_at_where_the_source_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write(tmp_path / f"{k}.mp4", scrolling_text(12)) for k in range(2)]
    looked: list[int] = []
    look = fields.comb_share
    monkeypatch.setattr(fields, "comb_share", lambda frame: looked.append(1) or look(frame))
    monkeypatch.setattr(fields, "_MANY", 3)
    monkeypatch.setattr(fields, "_asked", {})
    fields._fields_of.cache_clear()
    assert fields_of(paths[1]) == fields.WHOLE
    looked.clear()
    for _ in range(4):
        read_seen(paths[0], [1], source=paths[1])
    assert len(looked) == 3
    # what is woven is looked at however many pieces it has
    top = write(tmp_path / "top.mp4", woven("tff"))
    for _ in range(5):
        assert combs(read_seen(top, [12], source=top)[0].rgb) < 0.001


def test_grain_is_no_comb(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grain = [
        np.clip(picture(2 * k) + rng.normal(0, 12, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8)
        for k in range(20)
    ]
    path = write(tmp_path / "grain.mp4", grain, options={"crf": "4"})
    with av.open(str(path)) as file:
        assert min(map(comb_share, file.decode(video=0))) > 0.05
    assert not probe(path).interlaced


def test_a_small_picture_without_a_flag_has_no_fields(tmp_path: Path) -> None:
    """No format with fields is so small; drawings of few lines have combs by themselves."""
    small = [frame[:96, :128].copy() for frame in woven("tff")]
    assert probe(write(tmp_path / "a.mp4", small)).interlaced is False
    assert probe(write(tmp_path / "b.mp4", small, order="tff")).interlaced is True
