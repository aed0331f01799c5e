"""Pictures as players show them: turned, mirrored, their pixels square, their margins cut off."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from opensora.core.errors import VideoError
from opensora.media.decode import iter_frames, iter_thumbnails, read_frames
from opensora.media.geometry import Orientation
from opensora.media.probe import probe
from opensora.media.timeline import timeline

from .footage import (
    HEIGHT,
    MATRICES,
    WIDTH,
    add_aperture,
    add_pixel_crop,
    disc,
    picture,
    set_matrix,
    square_corner,
    write,
)

CORNERS = {
    **{"plain": "top left", "half": "bottom right", "mirrored": "top right"},
    **{"flipped": "bottom left", "mirrored_turned": "top left"},
    **{"mirrored_turned_back": "bottom right", "turned": "top right", "turned_back": "bottom left"},
}
FINE = {"crf": "8"}


@pytest.mark.parametrize("name", MATRICES)
def test_a_display_matrix_is_followed_as_a_matrix(tmp_path: Path, name: str) -> None:
    path = set_matrix(write(tmp_path / "a.mp4", [picture(0), picture(1)]), MATRICES[name])
    first = next(iter_frames(path))
    turned = "turned" in name
    assert first.shape == ((WIDTH, HEIGHT, 3) if turned else (HEIGHT, WIDTH, 3))
    assert square_corner(first) == CORNERS[name]
    assert square_corner(next(iter_thumbnails(path, 64))) == CORNERS[name]
    assert square_corner(read_frames(path, [1])[0]) == CORNERS[name]
    info = probe(path)
    assert (info.height, info.width) == first.shape[:2]


@pytest.mark.parametrize("matrix", MATRICES.values())
def test_an_orientation_moves_pixels_as_its_matrix_says(matrix: tuple[int, int, int, int]) -> None:
    pixels = np.arange(6).reshape(2, 3)
    a, b, c, d = (number >> 16 for number in matrix)
    places = {(a * x + c * y, b * x + d * y): pixels[y, x] for y in range(2) for x in range(3)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    shown = Orientation.of_matrix(matrix[0], matrix[1], 0, matrix[2], matrix[3]).apply(pixels)
    for (x, y), value in places.items():
        assert shown[y - top, x - left] == value


@pytest.mark.parametrize(
    ("stored", "pixel", "shown"),
    [
        ((108, 144), Fraction(4, 3), (108, 192)),
        ((576, 720), Fraction(64, 45), (576, 1024)),
        ((96, 144), Fraction(8, 9), (96, 128)),
        ((96, 128), Fraction(1000), (96, 128)),  # no pixel is that long: the header is wrong
    ],
)
def test_pixels_become_square(
    tmp_path: Path, stored: tuple[int, int], pixel: Fraction, shown: tuple[int, int]
) -> None:
    squeezed = picture(0, *shown)[:, np.arange(stored[1]) * shown[1] // stored[1]]
    path = write(tmp_path / "a.mkv", [squeezed] * 3, pixel=pixel, options=FINE)
    info = probe(path)
    assert (info.height, info.width) == shown
    assert (info.source_height, info.source_width) == stored
    first = next(iter_frames(path))
    assert first.shape[:2] == shown
    height, width = disc(first)
    assert abs(height - width) <= 3
    small = next(iter_frames(path, size=(shown[0] // 2, shown[1] // 2)))
    assert abs(np.subtract(*disc(small))) <= 2
    assert next(iter_thumbnails(path, 64)).shape[:2] == (round(64 * shown[0] / shown[1]), 64)


def test_turned_pixels_become_square_along_the_other_side(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [picture(0, 96, 72)] * 2, pixel=Fraction(4, 3))
    set_matrix(path, MATRICES["turned"])
    assert (probe(path).height, probe(path).width) == (96, 96)
    assert next(iter_frames(path)).shape == (96, 96, 3)


def framed(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """A white margin around a dark ground."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    image[top : HEIGHT - bottom, left : WIDTH - right] = (40, 80, 120)
    return image


@pytest.mark.parametrize("suffix", ["mov", "mp4"])
@pytest.mark.parametrize(
    ("margins", "down", "right"),
    [((8, 8, 8, 8), 0, 0), ((16, 0, 0, 0), 8, 0), ((4, 8, 6, 2), -2, 2)],
)
def test_a_clean_aperture_cuts_the_margins(
    tmp_path: Path, suffix: str, margins: tuple[int, int, int, int], down: int, right: int
) -> None:
    path = write(tmp_path / f"a.{suffix}", [framed(*margins)] * 3, options=FINE)
    height, width = HEIGHT - margins[0] - margins[1], WIDTH - margins[2] - margins[3]
    add_aperture(path, height, width, down, right)
    check_cropped(path, height, width)


@pytest.mark.parametrize("sides", [(8, 8, 8, 8), (0, 0, 12, 0)])
def test_a_pixel_crop_cuts_the_margins(tmp_path: Path, sides: tuple[int, int, int, int]) -> None:
    path = write(tmp_path / "a.mkv", [framed(*sides)] * 3, options=FINE)
    add_pixel_crop(path, **dict(zip(("top", "bottom", "left", "right"), sides, strict=True)))
    check_cropped(path, HEIGHT - sides[0] - sides[1], WIDTH - sides[2] - sides[3])


def check_cropped(path: Path, height: int, width: int) -> None:
    info = probe(path)
    assert (info.height, info.width) == (height, width)
    assert (info.source_height, info.source_width) == (HEIGHT, WIDTH)
    for frame in (
        next(iter_frames(path)),
        read_frames(path, [1])[0],
        next(iter_thumbnails(path, 999)),
    ):
        assert frame.shape == (height, width, 3)
        assert frame.mean() < 120
        assert (frame.min(axis=2) > 200).sum() == 0


def test_margins_that_can_not_be_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [picture(0)] * 2)
    add_aperture(path, 2 * HEIGHT, WIDTH)
    assert (probe(path).height, probe(path).width) == (HEIGHT, WIDTH)


def test_a_picture_that_changes_its_shape_on_the_way_ends_there(tmp_path: Path) -> None:
    parts = []
    for seed, size in enumerate([(96, 128), (96, 128), (96, 176)]):
        part = write(
            *(tmp_path / f"{seed}.ts", [picture(k, *size) for k in range(12)]),
            times=[3750 * (12 * seed + k) for k in range(12)],
            tick=Fraction(1, 90_000),
        )
        parts.append(part.read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    frames = iter_thumbnails(tmp_path / "a.ts", 64)
    assert len([next(frames) for _ in range(24)]) == 24
    with pytest.raises(VideoError, match="changes_shape") as caught:
        next(frames)
    assert "96 x 176" in caught.value.detail


@pytest.mark.parametrize("default", [0, 1, None])
def test_the_track_that_players_take_is_read(tmp_path: Path, default: int | None) -> None:
    path, sizes = tmp_path / "a.mkv", [(48, 64), (96, 128)]
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("libx264", rate=12) for _ in sizes]
        for number, (stream, size) in enumerate(zip(streams, sizes, strict=True)):
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
            stream.disposition = av.stream.Disposition(int(number == default))
        for stream, size in zip(streams, sizes, strict=True):
            for k in range(6):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture(k, *size), "rgb24")))
            file.mux(stream.encode())
    expected = sizes[1 if default is None else default]  # the default one, else the largest
    assert (probe(path).height, probe(path).width) == expected
    assert next(iter_frames(path)).shape[:2] == expected
    assert read_frames(path, [5])[0].shape[:2] == expected
    assert timeline(path).track == sizes.index(expected)
