"""The stages that `opensora bench curation` measures, each in a process of its own.

Worker processes come from a server that has imported everything before the clock runs, so that
the figures are those of work: starting up is reported apart.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import ffmpeg
import pandas as pd

from opensora.bench.measure import Stopwatch, TreeWatch
from opensora.config.registry import SCORERS, build_module
from opensora.core.io import write_json
from opensora.core.process import worker_pool
from opensora.core.signals import EndSignals
from opensora.curation.clips.clip_files import CRF, PRESET
from opensora.curation.clips.lengths import ClipSettings
from opensora.curation.clips.split_clips import split_clips
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.scenes.detect_scenes import detect_scenes
from opensora.curation.scores.score_clips import score_clips
from opensora.media.container import open_video
from opensora.media.encode import X264_REPRODUCIBLE, ffmpeg_executable
from opensora.tables.columns import CLIPS, OK, SCENES, VIDEOS
from opensora.tables.io import read_table, write_table

SCORERS_TIMED = ("technical", "flow")
_SCORED_TOGETHER = 8  # clips that a worker takes at once at most
_METHOD: Final = "forkserver"
_STOPPED = 75
_CONTEXT = get_context(_METHOD)


@dataclass(frozen=True)
class StageJob:
    """What a stage works on.

    Attributes:
        inputs: folders or files.
        work: folder for tables and clips; a stage finds there what the one before left.
        workers: processes that work at the same time.
    """

    inputs: tuple[str, ...]
    work: Path
    workers: int


@dataclass(frozen=True)
class Measured:
    """What a stage took.

    Attributes:
        seconds: wall time, all processes being up.
        start_s: wall time until they were.
        cpu_seconds: of all its processes.
        peak_bytes: memory of all its processes together.
    """

    seconds: float
    start_s: float
    cpu_seconds: float
    peak_bytes: int


Task = tuple[float, float]  # wall and processor seconds of one task
Stage = Callable[[StageJob], list[Task]]


def run_stage(name: str, job: StageJob, result: Path) -> None:
    """Run one stage; to be called in a fresh process. Writes what it took as JSON.

    Raises:
        SystemExit: it was asked to stop, which the process that started it says.
    """
    try:
        with EndSignals():
            _measured(name, job, result)
    except KeyboardInterrupt:
        raise SystemExit(_STOPPED) from None


def _measured(name: str, job: StageJob, result: Path) -> None:
    started = time.perf_counter()
    _CONTEXT.set_forkserver_preload([__name__, "opensora.curation.scores"])
    first = _CONTEXT.Process(target=time.sleep, args=(0,))
    first.start()  # waits until the server has imported what the workers need
    first.join()
    start_s = time.perf_counter() - started
    with Stopwatch() as watch, TreeWatch() as tree:
        tasks = STAGES[name](job)
    seconds, cpu_seconds = watch.seconds, tree.cpu_seconds
    if tasks:  # only these count, what stood between them was preparation
        seconds = makespan([wall for wall, _ in tasks], job.workers)
        cpu_seconds = sum(cpu for _, cpu in tasks)
    write_json(result, asdict(Measured(seconds, start_s, cpu_seconds, tree.peak_bytes)))


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of some tasks is done if each goes, in order, to the first free worker."""
    free = [0.0] * workers
    for task in seconds:
        free[free.index(min(free))] += task
    return max(free)


def _ingest(job: StageJob) -> list[Task]:
    write_table(ingest_videos(job.inputs, workers=job.workers), job.work / "videos.csv", VIDEOS)
    return []


def _scenes(job: StageJob) -> list[Task]:
    videos = read_table(job.work / "videos.csv", VIDEOS)
    write_table(detect_scenes(videos, workers=job.workers), job.work / "scenes.csv", SCENES)
    return []


def _split(job: StageJob) -> list[Task]:
    scenes = read_table(job.work / "scenes.csv", SCENES)
    clips = split_clips(scenes, job.work / "clips", ClipSettings(), workers=job.workers)
    write_table(clips, job.work / "clips.csv", CLIPS)
    return []


def _score(job: StageJob) -> list[Task]:
    clips = read_table(job.work / "clips.csv", CLIPS)
    size = max(1, min(_SCORED_TOGETHER, len(clips) // (4 * job.workers)))
    parts = [clips[k : k + size] for k in range(0, len(clips), size)]
    with worker_pool(job.workers, method=_METHOD) as pool:
        scored = sum(pool.map(_score_part, parts))
    assert scored == len(clips)  # the runner answers for every row
    return []


def _score_part(clips: pd.DataFrame) -> int:
    scorers = {name: build_module({"type": name}, SCORERS) for name in SCORERS_TIMED}
    return len(score_clips(clips, scorers)[SCORERS_TIMED[0]])


def _decode(job: StageJob) -> list[Task]:
    """A plain decode of every frame of every good video."""
    paths = _films(read_table(job.work / "videos.csv", VIDEOS))["path"]
    with worker_pool(job.workers, method=_METHOD) as pool:
        return list(pool.map(_decode_one, paths))


def _decode_one(path: str) -> Task:
    with Stopwatch() as watch, open_video(Path(path)) as (container, stream):
        for _ in container.decode(stream):
            pass
    return watch.seconds, watch.cpu_seconds


def _encode(job: StageJob) -> list[Task]:
    """A plain encode of every frame that was kept, source by source."""
    clips = _films(read_table(job.work / "clips.csv", CLIPS))
    sources = [list(part["path"]) for _, part in clips.groupby("video_id", sort=False)]
    with worker_pool(job.workers, method=_METHOD) as pool:
        return list(pool.map(_encode_source, sources))


def _encode_source(paths: Sequence[str]) -> Task:
    tasks = [_encode_one(Path(path)) for path in paths]
    return sum(wall for wall, _ in tasks), sum(cpu for _, cpu in tasks)


def _encode_one(path: Path) -> Task:
    """Decode a clip to raw frames, then time ffmpeg as it encodes them again."""
    raw = path.with_suffix(".yuv")
    with open_video(path) as (container, stream), raw.open("wb") as file:
        context = stream.codec_context
        size, rate = f"{context.width}x{context.height}", str(stream.average_rate)
        for frame in container.decode(stream):
            file.write(frame.to_ndarray(format="yuv420p").tobytes())
    source = ffmpeg.input(f"file:{raw}", format="rawvideo", pix_fmt="yuv420p", s=size, r=rate)
    output = ffmpeg.output(
        *(source, "-"),
        **{"format": "null", "vcodec": "libx264", "crf": CRF, "preset": PRESET, "threads": 1},
        **{"x264-params": X264_REPRODUCIBLE},
    )
    command = output.global_args("-loglevel", "error").compile(cmd=ffmpeg_executable())
    with Stopwatch() as watch:
        subprocess.run(
            list(map(str, command)), check=True, stdin=subprocess.DEVNULL, capture_output=True
        )
    raw.unlink()
    return watch.seconds, watch.cpu_seconds


def _films(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["status"] == OK) & (table["kind"] == "video")]


PIPELINE = {"ingest": _ingest, "scenes": _scenes, "split": _split, "score": _score}
PLAIN = {"decode": _decode, "encode": _encode}
STAGES: dict[str, Stage] = {**PIPELINE, **PLAIN}
