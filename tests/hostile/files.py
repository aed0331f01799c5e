"""Makes the files that curation must survive, each small and each with content of its own."""

import os
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from opensora.media.encode import ffmpeg_executable

# names that a shell, a CSV reader, a format string or a glob might take for more than a name
NAMES = (
    "with space.mp4",
    "quote'.mp4",
    'double"quote.mp4',
    "new\nline.mp4",
    "carriage\rreturn.mp4",
    "tab\t.mp4",
    "ünï-視頻-😀.mp4",
    "-leading-dash.mp4",
    "; rm -rf $HOME;.mp4",
    "$(touch pwned).mp4",
    "`touch pwned`.mp4",
    "=cmd|' -C calc'!A0.mp4",
    "comma,semicolon;.mp4",
    "percent%d%s.mp4",
    "[brackets]*?.mp4",
    "back\\slash.mp4",
    "http:colon.mp4",
    "a" * 200 + ".mp4",
)
CLIP_S = 1.2  # seconds of every good film


def frames(seed: int, num_frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A still texture with a bar that moves; uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    rows = np.arange(height) * 6 // height
    picture = cells[rows][:, np.arange(width) * 8 // width]  # [H, W, 3]
    film = np.repeat(picture[None], num_frames, axis=0)
    for t in range(num_frames):
        film[t, :, t * width // num_frames] = 255
    return film


def write(
    path: Path,
    seed: int,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: int = 10,
    num_frames: int = 12,
    size: tuple[int, int] = (48, 64),
    turn: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode a film with PyAV; `size` is (height, width)."""
    # the prefix keeps a colon or a percent sign in the name from meaning anything
    with av.open(f"file:{path}", "w", format=_format(path)) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        stream.options = options or {}
        if turn:
            stream.set_display_rotation(turn)
        for picture in frames(seed, num_frames, *size):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode())
    return path


def convert(source: Path, target: Path, *options: str) -> Path:
    """Let ffmpeg write another file."""
    command = [ffmpeg_executable(), "-v", "error", "-y", "-i", f"file:{source}", *options]
    subprocess.run([*command, f"file:{target}"], check=True, timeout=120)
    return target


def write_sound(path: Path) -> None:
    """A file with a sound track alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for k in range(10):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * k
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_uneven(path: Path) -> None:
    """Frames that stand for 0.05 and 0.25 seconds in turn."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for k, picture in enumerate(frames(40, 10)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = k // 2 * 6 + k % 2, Fraction(1, 20)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def punch(path: Path, packet: int) -> None:
    """Overwrite one packet in the middle of a file."""
    with av.open(str(path)) as container:
        packets = [each for each in container.demux(video=0) if each.size]
    place, size = packets[packet].pos, packets[packet].size
    data = bytearray(path.read_bytes())
    data[place + 10 : place + size] = bytes(size - 10)
    path.write_bytes(data)


def write_world(folder: Path) -> None:
    """Write the whole collection."""
    folder.mkdir()
    (folder / "zero.mp4").touch()
    (folder / "text.mp4").write_text("this is a text file with a video's name\n" * 20)
    write_sound(folder / "audio.mp4")
    whole = write(folder / "truncated.mp4", 1, num_frames=60)
    os.truncate(whole, whole.stat().st_size * 6 // 10)
    write(folder / "one_frame.mp4", 2, num_frames=1)
    write(folder / "rate10000.mp4", 3, rate=10_000, num_frames=40)
    write(folder / "one_pixel.mkv", 4, codec="ffv1", pixels="bgr0", size=(1, 1))
    write(folder / "odd.mkv", 5, codec="ffv1", pixels="bgr0", size=(33, 35))
    write(folder / "wide.mkv", 6, codec="ffv1", pixels="bgr0", size=(2, 4000))
    write(folder / "portrait.mp4", 7, turn=90)
    write_uneven(folder / "uneven.mkv")
    write(folder / "ten_bit.mp4", 8, pixels="yuv420p10le")
    write(folder / "full_chroma.mp4", 9, pixels="yuv444p")
    write(folder / "mpeg4.avi", 10, codec="mpeg4")
    plain = write(folder / "h264.mkv", 11)
    convert(plain, folder / "vp9.webm", "-c:v", "libvpx-vp9", "-vf", "hue=h=30")
    convert(plain, folder / "av1.mkv", "-c:v", "libaom-av1", "-cpu-used", "8", "-vf", "hue=h=60")
    convert(plain, folder / "moving.gif", "-vf", "hue=h=90")
    holes = write(*(folder / "holes.mp4", 12), num_frames=60, options={"g": "10", "crf": "4"})
    punch(holes, 40)
    (folder / "self.mp4").symlink_to(folder / "self.mp4")
    (folder / "again").symlink_to(folder)
    for seed, name in enumerate(NAMES, start=100):
        write(folder / name, seed)


def _format(path: Path) -> str:
    return {".mkv": "matroska", ".avi": "avi"}.get(path.suffix, "mp4")
