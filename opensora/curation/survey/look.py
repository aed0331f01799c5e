"""Looks into a sample of the files: what their footage is like, and what would be left out."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

from opensora.core.errors import VideoError
from opensora.core.seed import derive_seed
from opensora.curation.isolation import WorkerFailure, run_isolated
from opensora.media.decode import iter_thumbnails
from opensora.media.probe import VideoInfo, probe

SAMPLE = 200  # files that are looked into
_PATIENCE_S = 60.0  # after which no more are, of slow disks and long films
_TIMEOUT_S = 30.0  # for a file
_TIMED_FRAMES = 48  # of a file, to see how fast it decodes
_THUMBNAIL = 64


@dataclass(frozen=True)
class Seen:
    """One file: what it shows or why nothing, its bytes, and how long its frames take.

    Attributes:
        info: None where it can not be used.
        reason: word of `rejected.csv`, "" of a good file.
        bytes: of the file.
        probe_s: seconds that looking took.
        decode_s: seconds that decoding all of its frames would take.
    """

    path: str
    info: VideoInfo | None
    reason: str
    bytes: int
    probe_s: float
    decode_s: float


@dataclass
class Sample:
    """What was seen of how many files.

    Attributes:
        total: files that there are.
        seen: those that were looked into.
        left_out: reason -> files of the sample that can not be used.
    """

    total: int
    seen: list[Seen]
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def good(self) -> list[tuple[Seen, VideoInfo]]:
        """Those that can be used."""
        return [(one, one.info) for one in self.seen if one.info is not None]

    @property
    def videos(self) -> list[VideoInfo]:
        """Good ones that move."""
        return [info for _, info in self.good if info.kind == "video"]

    @property
    def durations(self) -> list[float]:
        """Seconds of each good video."""
        return sorted(info.duration_s for info in self.videos)

    def scaled(self, of_sample: float) -> float:
        """What all files have together, as far as the sample tells."""
        return of_sample * self.total / max(1, len(self.seen))

    @property
    def footage_s(self) -> float:
        """Seconds of all videos."""
        return self.scaled(sum(self.durations))

    @property
    def bytes(self) -> int:
        """Of all files."""
        return round(self.scaled(sum(one.bytes for one in self.seen)))

    @property
    def typical_s(self) -> float:
        """Seconds that half of the videos do not reach."""
        return median(self.durations) if self.durations else 0.0

    @property
    def mean_probe_s(self) -> float:
        """Seconds that a file takes to be looked into."""
        return mean([one.probe_s for one in self.seen]) if self.seen else 0.0


def look(files: Sequence[str], *, workers: int) -> Sample:
    """Look into files drawn by their names, the same ones in every run.

    Args:
        files: all that there are.
        workers: processes that look.
    """
    drawn = sorted(files)
    random.Random(derive_seed("survey", len(files))).shuffle(drawn)
    drawn = drawn[:SAMPLE]
    ends = time.monotonic() + _PATIENCE_S
    found = run_isolated(
        seen_file, drawn, workers=workers, timeout_s=lambda _: _TIMEOUT_S, stage="init"
    )
    sample = Sample(len(files), [])
    for place, one in found:
        if isinstance(one, WorkerFailure):
            one = Seen(drawn[place], None, one.reason, 0, _TIMEOUT_S, 0.0)
        sample.seen.append(one)
        if time.monotonic() > ends:
            break
    sample.seen.sort(key=lambda one: one.path)
    sample.left_out.update(one.reason for one in sample.seen if one.reason)
    return sample


def seen_file(path: str) -> Seen:
    """Look into one file; runs in a worker."""
    begin = time.monotonic()
    size = 0
    try:
        with suppress(OSError):  # `probe` says what is wrong
            size = Path(path).stat().st_size
        info = probe(path)
    except VideoError as error:
        return Seen(path, None, error.reason, size, time.monotonic() - begin, 0.0)
    except OSError:
        return Seen(path, None, "unreadable", size, time.monotonic() - begin, 0.0)
    probe_s = time.monotonic() - begin
    if info.kind == "image":  # was read as a whole
        return Seen(path, info, "", size, probe_s, probe_s)
    begin, frames = time.monotonic(), 0
    try:
        for frames, _ in enumerate(iter_thumbnails(path, _THUMBNAIL), 1):
            if frames == _TIMED_FRAMES:
                break
    except VideoError as error:
        return Seen(path, None, error.reason, size, probe_s, 0.0)
    decode_s = (time.monotonic() - begin) * info.num_frames / max(1, frames)
    return Seen(path, info, "", size, probe_s, decode_s)
