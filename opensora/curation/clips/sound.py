"""The sound of stretches of a video, cut to the sample by the clock that its frames follow too."""

import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet

from opensora.core.errors import VideoError
from opensora.core.io import not_written
from opensora.media.container import open_video
from opensora.media.timeline import Timeline

RATE = 48_000  # samples a second of all clips
CHANNELS = 2
CODEC, BIT_RATE = "aac", "128k"
_LAYOUT, _FORMAT = "stereo", "flt"
_SAMPLE_BYTES = 4 * CHANNELS
# times of Matroska are in milliseconds, of recordings worse: what follows within this goes on
_JITTER_S = 0.02


@dataclass(frozen=True)
class Stretch:
    """A part of a video's time.

    Attributes:
        start: seconds from the first frame.
        seconds: that it lasts.
    """

    start: float
    seconds: float


class Sounds:
    """Writes the sound of stretches, the earlier ones first, in one pass over a video.

    Args:
        path: of the video.
        line: of its frames.

    Raises:
        VideoError: nobody knows where the sound belongs.
    """

    def __init__(self, path: Path, line: Timeline) -> None:
        if len(line.breaks) or line.times is None:
            raise VideoError(
                "sound_unreadable",
                f"{path.name}: its clock starts anew or tells no times, so that sound has no place"
                " in it; leave --audio keep out for this video",
            )
        self._first = float(int(line.times[0]) * line.tick_s)
        self._pieces = _pieces(path)
        self._piece: tuple[int, np.ndarray] | None = None  # what the next stretch may begin in

    def write(self, file: Path, part: Stretch) -> bool:
        """Write 48,000 pairs of little-endian 32-bit floats a second, as many as a stretch lasts.

        Where the source is silent, starts late or is damaged they are 0. A stretch without any
        sound gets no file.

        Returns:
            Whether the file is there.

        Raises:
            VideoError: the sound can not be decoded.
            OpenSoraError: the file can not be written.
        """
        begin, length = round((self._first + part.start) * RATE), round(part.seconds * RATE)
        found = False
        try:
            for place, samples in self._until(begin + length):
                low, high = max(place, begin), min(place + len(samples), begin + length)
                if low < high:
                    with file.open("r+b" if found else "wb") as opened:
                        opened.seek((low - begin) * _SAMPLE_BYTES)
                        opened.write(samples[low - place : high - place].tobytes())
                    found = True
            if found:
                os.truncate(file, length * _SAMPLE_BYTES)
        except OSError as error:
            raise not_written(error, file) from error
        return found

    def _until(self, end: int) -> Iterator[tuple[int, np.ndarray]]:
        """The pieces that begin before a sample; the last one comes again the next time."""
        while True:
            self._piece = self._piece or next(self._pieces, None)
            if self._piece is None or self._piece[0] >= end:
                return
            yield self._piece
            if self._piece[0] + len(self._piece[1]) > end:
                return
            self._piece = None

    def close(self) -> None:
        """Close the video."""
        self._pieces.close()


def _pieces(path: Path) -> Generator[tuple[int, np.ndarray]]:
    """Sound in pieces: number of the first sample on the file's clock, and float32 [N, 2]."""
    with open_video(path) as (container, _):
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream) or stream.codec_context is None:
            raise VideoError("sound_unreadable", f"{path.name}: its sound has no decoder here")
        stream.codec_context.thread_count = 1
        resampler, shape, place, following = None, None, 0, 0.0
        for frame in _frames(path, container.demux(stream)):
            start = following if frame.time is None else frame.time
            now = frame.format.name, frame.layout.name, frame.sample_rate
            if now != shape or abs(start - following) > _JITTER_S:
                for samples in _resampled(resampler, None):
                    yield place, samples
                    place += len(samples)
                resampler, shape = AudioResampler(_FORMAT, _LAYOUT, RATE), now
                place, following = round(start * RATE), start
            following += frame.samples / frame.sample_rate
            frame.pts = None  # counted from here on
            for samples in _resampled(resampler, frame):
                yield place, samples
                place += len(samples)
        for samples in _resampled(resampler, None):
            yield place, samples
            place += len(samples)


def _frames(path: Path, packets: Iterable[Packet]) -> Iterator[AudioFrame]:
    """Decoded frames; a packet that is damaged leaves a gap.

    Raises:
        VideoError: all are.
    """
    good, fault = 0, None
    for packet in packets:
        try:
            for frame in packet.decode():
                good += 1
                assert isinstance(frame, AudioFrame)  # of an audio stream
                yield frame
        except av.FFmpegError as error:
            fault = error
    if fault is not None and not good:
        raise VideoError("sound_unreadable", f"{path.name}: its sound is damaged ({fault})")


def _resampled(resampler: AudioResampler | None, frame: AudioFrame | None) -> Iterator[np.ndarray]:
    """Float32 [N, 2] of a frame, or with None what is left."""
    if resampler is not None:
        for made in resampler.resample(frame):
            yield made.to_ndarray().reshape(-1, CHANNELS)
