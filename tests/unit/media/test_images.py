"""Pictures with profiles, transparency, depths and turns of their own."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from opensora.media.decode import read_frames
from opensora.media.images import read_image
from opensora.media.probe import probe

RED = (200, 50, 20)
# D50-adapted red, green and blue of Display P3, and white
P3 = {
    b"rXYZ": (0.5151, 0.2412, -0.0011),
    b"gXYZ": (0.2920, 0.6922, 0.0419),
    b"bXYZ": (0.1571, 0.0666, 0.7841),
    b"wtpt": (0.9642, 1.0, 0.8249),
}


def profile(description: str) -> bytes:
    """A profile of Display P3 with a gamma of 2.2, as cameras and phones put into pictures."""
    text = description.encode() + b"\0"
    gamma = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(2.2 * 256))
    note = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": note + bytes(-len(note) % 4), b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    for name, values in P3.items():
        tags[name] = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma)
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">2I", at + len(body), len(value))
        body += value
    kind = b"\0\0\0\0" + struct.pack(">I", 0x02400000) + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    head = struct.pack(">I", at + len(body)) + kind + bytes(28)
    return head + struct.pack(">3i", 63190, 65536, 54061) + bytes(48) + table + body


def plain(colour: tuple[int, ...] = RED, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (64, 48), colour)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_wide_colours_become_srgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    plain().save(path, quality=100, icc_profile=profile("a wide screen"))
    # linear light by the gamma, P3 to sRGB by its matrix, and the curve of sRGB
    linear = (np.array(RED) / 255) ** 2.2
    to_srgb = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0196, -0.0786, 1.0979]])
    light = np.clip(to_srgb @ linear, 0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(read_frames(path, [0])[0, 20, 20] - 255 * curve).max() <= 4


def test_a_profile_of_srgb_or_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, note in enumerate((srgb, profile("my sRGB"), b"no profile")):
        plain().save(tmp_path / f"{number}.png", icc_profile=note)
        assert tuple(read_image(tmp_path / f"{number}.png")[0][0, 0]) == RED


def test_transparency_keeps_its_profile_and_greys_have_none_of_colour(tmp_path: Path) -> None:
    picture = plain((*RED, 255), "RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 32, 48))
    picture.save(tmp_path / "a.png", icc_profile=profile("a wide screen"))
    pixels = read_image(tmp_path / "a.png")[0]
    assert pixels[:, :32].min() >= 254
    assert pixels[0, 40, 0] > 210
    plain((120,), "L").save(tmp_path / "g.png", icc_profile=profile("a wide screen"))
    assert read_image(tmp_path / "g.png")[0].shape == (48, 64, 3)


def test_print_colours_and_grey_with_transparency(tmp_path: Path) -> None:
    plain().convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "a.jpg")[0][9, 9].astype(int) - RED).max() <= 2
    plain((40, 0), "LA").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0].min() == 255


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif"])
def test_pictures_are_turned_as_they_say(tmp_path: Path, suffix: str) -> None:
    picture = plain((0, 0, 0))
    picture.paste(RED, (0, 0, 16, 16))
    notes = picture.getexif()
    notes[0x112] = 6  # to be turned clockwise
    picture.save(tmp_path / f"a{suffix}", exif=notes)
    info = probe(tmp_path / f"a{suffix}")
    assert (info.height, info.width) == (64, 48)
    pixels = read_frames(tmp_path / f"a{suffix}", [0])[0]
    assert pixels[5, -5, 0] > 150 > 50 > pixels[5, 5, 0]


def test_frames_without_a_duration_stand_a_tenth_of_a_second(tmp_path: Path) -> None:
    frames = [plain((40 * k, 0, 0)) for k in range(4)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=0)
    info = probe(tmp_path / "a.webp")
    assert (info.kind, info.num_frames, info.fps, info.duration_s) == ("video", 4, 10, 0.4)
