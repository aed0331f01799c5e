"""Colours by the tags of a file; without any by the size of its picture, as players have it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from opensora.core.errors import VideoError
from opensora.media.decode import iter_frames
from opensora.media.probe import probe

from .footage import copy, write

# weights of red and blue in the luma: ITU-R BT.601, BT.709, SMPTE 240M, BT.2020
WEIGHTS = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "240": (0.212, 0.087)}
WEIGHTS["2020"] = (0.2627, 0.0593)
RGB = (200, 50, 20)


def ycbcr(matrix: str, full: bool = False) -> tuple[int, int, int]:
    """Eight-bit Y'CbCr of the colour."""
    red, green, blue = (level / 255 for level in RGB)
    of_red, of_blue = WEIGHTS[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    parts = luma, (blue - luma) / (2 * (1 - of_blue)), (red - luma) / (2 * (1 - of_red))
    scales = ((255, 0), (255, 128), (255, 128)) if full else ((219, 16), (224, 128), (224, 128))
    y, b, r = (round(part * a + c) for part, (a, c) in zip(parts, scales, strict=True))
    return y, b, r


def card(
    path: Path,
    stored: tuple[int, int, int],
    *,
    lines: int,
    tags: str = "",
    codec: str = "libx264",
    pixels: str = "yuv420p",
) -> Path:
    """One colour, written as it is stored, with tags in the stream."""
    raw = path.with_name(f"raw{path.suffix}")
    with av.open(str(raw), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = lines, 64, pixels
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        for k in range(3):
            frame = av.VideoFrame(64, lines, pixels)
            for plane, level in zip(frame.planes, stored, strict=True):
                plane.update(bytes([level]) * plane.buffer_size)
            frame.pts, frame.time_base = k, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    if not tags:
        return raw
    family = "mpeg2" if codec == "mpeg2video" else "h264"
    return copy(raw, path, notes=f"{family}_metadata={tags}")


def check(path: Path, within: int = 3) -> None:
    shown = next(iter_frames(path))[10, 20].astype(int)
    assert np.abs(shown - RGB).max() <= within, shown


@pytest.mark.parametrize(("lines", "matrix"), [(576, "601"), (720, "709"), (1080, "709")])
def test_untagged_footage_goes_by_its_lines(tmp_path: Path, lines: int, matrix: str) -> None:
    check(card(tmp_path / "a.mp4", ycbcr(matrix), lines=lines))


@pytest.mark.parametrize(
    ("number", "matrix"), [(1, "709"), (5, "601"), (6, "601"), (7, "240"), (9, "2020")]
)
@pytest.mark.parametrize("lines", [96, 720])
def test_tags_decide_where_they_are(tmp_path: Path, number: int, matrix: str, lines: int) -> None:
    tags = f"matrix_coefficients={number}"
    check(card(tmp_path / "a.mp4", ycbcr(matrix), lines=lines, tags=tags))


def test_the_full_range_is_told_by_its_tag(tmp_path: Path) -> None:
    tags = "matrix_coefficients=1:video_full_range_flag=1"
    check(card(tmp_path / "a.mp4", ycbcr("709", full=True), lines=96, tags=tags))


def test_motion_jpeg_has_the_full_range(tmp_path: Path) -> None:
    stored = ycbcr("601", full=True)
    check(card(tmp_path / "a.avi", stored, lines=96, codec="mjpeg", pixels="yuvj420p"), within=5)


@pytest.mark.parametrize(("primaries", "matrix"), [(1, "709"), (6, "601")])
def test_a_matrix_may_follow_from_the_primaries(
    tmp_path: Path, primaries: int, matrix: str
) -> None:
    tags = f"matrix_coefficients=12:colour_primaries={primaries}"
    check(card(tmp_path / "a.mp4", ycbcr(matrix), lines=96, tags=tags))


def test_the_matrix_of_wide_primaries_follows_from_them_too(tmp_path: Path) -> None:
    """A grey shows the range and a colour the matrix: the primaries are then converted."""
    tags = "colour_primaries=9:matrix_coefficients="
    derived = card(tmp_path / "a.mp4", ycbcr("2020"), lines=96, tags=f"{tags}12")
    told = card(tmp_path / "b.mp4", ycbcr("2020"), lines=96, tags=f"{tags}9")
    first, second = (next(iter_frames(path))[10, 20] for path in (derived, told))
    assert first.tolist() == second.tolist()
    assert first[0] > RGB[0] + 20


@pytest.mark.parametrize(
    "tags", ["matrix_coefficients=3:colour_primaries=1", "matrix_coefficients=1:colour_primaries=3"]
)
def test_reserved_numbers_are_as_if_there_were_none(tmp_path: Path, tags: str) -> None:
    matrix = "601" if "coefficients=3" in tags else "709"
    tags += ":transfer_characteristics=3"
    check(card(tmp_path / "a.mpg", ycbcr(matrix), lines=96, tags=tags, codec="mpeg2video"))


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ("matrix_coefficients=8", "YCgCo"),
        ("matrix_coefficients=10:colour_primaries=9", "constant luminance"),
        ("matrix_coefficients=14:colour_primaries=9", "ICtCp"),
        ("matrix_coefficients=12:colour_primaries=12", "primaries 12"),
    ],
)
def test_a_matrix_that_nobody_converts_has_its_own_reason(
    tmp_path: Path, tags: str, name: str
) -> None:
    path = card(tmp_path / "a.mp4", (90, 100, 180), lines=96, tags=tags)
    with pytest.raises(VideoError, match="colour_matrix") as caught:
        probe(path)
    assert name in caught.value.detail
    assert caught.value.detail.startswith("a.mp4: ")


def test_a_screen_capture_in_rgb_has_no_matrix(tmp_path: Path) -> None:
    picture = np.full((720, 64, 3), RGB, np.uint8)
    path = write(tmp_path / "a.mkv", [picture] * 2, codec="ffv1", pixels="bgr0")
    check(path, within=0)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_what_is_transparent_is_white_whatever_the_format(tmp_path: Path, suffix: str) -> None:
    frames = []
    for k in range(3):
        image = Image.new("RGBA", (32, 24), (0, 0, 0, 0))
        image.paste((20, 60, 200, 255), (4 * k, 8, 4 * k + 8, 16))
        frames.append(image)
    path = tmp_path / f"a.{suffix}"
    more = {"save_all": True, "append_images": frames[1:], "duration": 100}
    frames[0].save(path, **more, **({"disposal": 2} if suffix != "webp" else {"lossless": True}))
    shown = list(iter_frames(path))
    assert len(shown) == 3
    for frame in shown:
        assert frame[0, 0].tolist() == [255, 255, 255]
    assert np.abs(shown[0][12, 4].astype(int) - (20, 60, 200)).max() <= 8


def test_film_with_transparency_is_composed_over_white(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("png", rate=10)
        stream.height, stream.width, stream.pix_fmt = 24, 32, "rgba"
        pixels = np.zeros((24, 32, 4), np.uint8)
        pixels[:, 16:] = (20, 60, 200, 255)
        pixels[:, :8] = (0, 0, 0, 128)
        for _ in range(2):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        file.mux(stream.encode())
    frame = next(iter_frames(path))
    assert frame[0, 0].tolist() == [127, 127, 127]
    assert frame[0, 10].tolist() == [255, 255, 255]
    assert frame[0, 20].tolist() == [20, 60, 200]
