"""Small films as users have them: another rate in the header, mirrored, cropped, joined."""

import struct
import subprocess
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from opensora.media.encode import ffmpeg_executable

HEIGHT, WIDTH = 96, 128
ONE, LAST = 1 << 16, 1 << 30  # of a display matrix
# rows of a display matrix: (x from x, x from y), (y from x, y from y)
MATRICES = {
    "plain": (ONE, 0, 0, ONE),
    "turned": (0, ONE, -ONE, 0),
    "half": (-ONE, 0, 0, -ONE),
    "turned_back": (0, -ONE, ONE, 0),
    "mirrored": (-ONE, 0, 0, ONE),
    "flipped": (ONE, 0, 0, -ONE),
    "mirrored_turned": (0, ONE, ONE, 0),
    "mirrored_turned_back": (0, -ONE, -ONE, 0),
}


def picture(
    k: int, height: int = HEIGHT, width: int = WIDTH, colour: Sequence[int] = (40, 80, 120)
) -> np.ndarray:
    """A white disc in the middle, a red square at the top left, a dark bar that moves with k."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:] = colour
    image[:, (3 * k) % width : (3 * k) % width + 4] = 0
    rows, columns = np.mgrid[:height, :width]
    image[
        (rows - height // 2) ** 2 + (columns - width // 2) ** 2 < (min(image.shape[:2]) // 4) ** 2
    ] = 255
    image[: height // 8, : height // 8] = (230, 20, 20)
    return image


def write(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    rate: int = 24,
    container: str | None = None,
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    tick: Fraction | None = None,
    pixel: Fraction | None = None,
    pixels: str = "yuv420p",
    dress: Callable[[av.VideoFrame], None] | None = None,
) -> Path:
    """Encode pictures; `times` in units of `tick` where they are not evenly spaced."""
    frames = list(pictures)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = pixels, options or {}
        if tick is not None:
            stream.codec_context.time_base = tick
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = pixel
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, rate)
            if times is not None:
                frame.pts, frame.time_base = times[k], tick
            if dress:
                dress(frame)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def copy(source: Path, target: Path, *, container: str | None = None, notes: str = "") -> Path:
    """Copy the packets into another container, through a filter of their bits."""
    with av.open(str(source)) as old, av.open(str(target), "w", format=container) as new:
        video = old.streams.video[0]
        stream = new.add_stream_from_template(video)
        words = BitStreamFilterContext(notes or "null", video, stream)
        for packet in old.demux(video):
            for ready in words.filter(packet if packet.dts is not None else None):
                ready.stream = stream
                new.mux(ready)
    return target


def set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write the four numbers into the header of an MP4's track."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 40  # behind version, times, id, duration, layer, volume
    a, b, c, d = matrix
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, LAST)
    path.write_bytes(data)
    return path


def add_aperture(path: Path, height: int, width: int, down: int = 0, right: int = 0) -> Path:
    """Add a box `clap` to an MP4 or MOV file whose index stands behind its film."""
    data, start, parents = bytearray(path.read_bytes()), 0, []
    boxes = {"moov": 8, "trak": 8, "mdia": 8, "minf": 8, "stbl": 8, "stsd": 16, "avc1": 86}
    for name, skip in boxes.items():
        while data[start + 4 : start + 8] != name.encode():
            start += int.from_bytes(data[start : start + 4], "big")
        parents.append(start)
        end, start = start + int.from_bytes(data[start : start + 4], "big"), start + skip
    sizes = (width, 1, height, 1, right, 1, down, 1)
    data[end:end] = struct.pack(">I4s4IiIiI", 40, b"clap", *sizes)
    for at in parents:
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + 40).to_bytes(4, "big")
    path.write_bytes(data)
    return path


def _element(data: bytearray, start: int, end: int, name: str) -> tuple[int, int, int, int]:
    """Place and length of an element's size, the size, and where its content begins."""
    while start < end:
        mark = 9 - data[start].bit_length()
        long = 9 - data[start + mark].bit_length()
        raw = int.from_bytes(data[start + mark : start + mark + long], "big")
        size, content = raw & ((1 << 7 * long) - 1), start + mark + long
        if data[start : start + mark].hex() == name:
            return start + mark, long, size, content
        start = content + size
    raise LookupError(name)


def add_pixel_crop(path: Path, **sides: int) -> Path:
    """Add the elements PixelCrop to a Matroska file."""
    names = {"bottom": "54aa", "top": "54bb", "left": "54cc", "right": "54dd"}
    data, parents = bytearray(path.read_bytes()), []
    start, end = 0, len(data)
    for name in ("18538067", "1654ae6b", "ae", "e0"):  # Segment, Tracks, TrackEntry, Video
        at, long, size, start = _element(data, start, end, name)
        parents.append((at, long, size))
        end = start + size
        if name == "18538067":  # the places in SeekHead no longer hold: make it Void
            seek, _, inside, content = _element(data, start, end, "114d9b74")
            gap = content + inside - (seek - 4)
            void = b"\xec" + struct.pack(">H", 0x4000 | gap - 3) + bytes(gap - 3)
            data[seek - 4 : content + inside] = void
        if name == "1654ae6b" and data[start] == 0xBF:  # nor does a checksum
            data[start : start + 6] = b"\xec\x84" + bytes(4)
    crop = b"".join(bytes.fromhex(names[side]) + bytes([0x81, n]) for side, n in sides.items())
    data[end:end] = crop
    for at, long, size in parents:
        data[at : at + long] = (size + len(crop) | 1 << 7 * long).to_bytes(long, "big")
    path.write_bytes(data)
    return path


def square_corner(image: np.ndarray) -> str:
    """Where the red square stands: "top left" and so on."""
    red = (image[..., 0].astype(int) > 160) & (image[..., 1] < 90) & (image[..., 2] < 90)
    rows, columns = np.where(red)
    height, width = image.shape[:2]
    vertical = "top" if rows.mean() < height / 2 else "bottom"
    return f"{vertical} {'left' if columns.mean() < width / 2 else 'right'}"


def disc(image: np.ndarray) -> tuple[int, int]:
    """Height and width of the white disc: equal in a picture that is not squeezed."""
    rows, columns = np.where(image.min(axis=2) > 200)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def converted(folder: Path, name: str, *options: str) -> Path:
    """Let ffmpeg write another file from plain.mp4."""
    target = folder / name
    if not target.exists():
        source = str(folder / "plain.mp4")
        command = [ffmpeg_executable(), "-v", "error", "-i", source, *options, str(target)]
        subprocess.run(command, check=True, timeout=60)
    return target


def copied_from(source: Path, start_s: str) -> Path:
    """Copy a file from a second on: packets before it stay in the copy, and are not shown."""
    target = source.with_name("edited.mp4")
    command = [ffmpeg_executable(), "-v", "error", "-ss", start_s, "-i", str(source), "-c", "copy"]
    subprocess.run([*command, str(target)], check=True, timeout=60)
    return target
