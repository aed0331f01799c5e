"""A run of any number of clips and samples, made up in seconds: tables by the real step."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.io import write_json, write_text
from opensora.core.seal import sealed
from opensora.curation.manifest.build_manifest import StageTables, build_manifest
from opensora.curation.manifest.selection import Selection
from opensora.media.encode import write_video
from opensora.tables.columns import (
    CAPTIONS,
    CLIPS,
    MANIFEST,
    REJECTED,
    SAMPLES,
    SCENES,
    SCORES,
    VIDEOS,
)
from opensora.tables.io import write_table

CLIPS_OF_A_VIDEO = 10
STAGES = ("stage1@100", "stage1")  # samples are spread over them
_FILES = 8  # different videos; the others are links to them
_STEPS = 1_000  # lines of the log of training
_WORDS = ("red", "blue", "green", "small", "large", "circle", "square", "left", "right", "slowly")


def make_run(root: Path, *, clips: int, samples: int, seed: int = 0) -> Path:
    """Make `results/bench`.

    Args:
        root: an empty folder.
        clips: of all videos together.
        samples: of all checkpoints together.
        seed: of scores and texts.

    Returns:
        The run's folder.
    """
    rng = np.random.default_rng(seed)
    run = root / "results" / "bench"
    media = [_video(root / f"{k}.mp4", k) for k in range(_FILES)]
    tables = _stage_tables(clips, rng)
    built = build_manifest(tables, Selection(filters={"flow": {"min": 0.2}}), validation_fraction=0)
    write_table(tables.videos, run / "ingest/0000.parquet", VIDEOS)
    write_table(tables.scenes, run / "scenes/0000.parquet", SCENES)
    write_table(tables.clips, run / "clips/0000.parquet", CLIPS)
    write_table(tables.captions, run / "captions/0000.parquet", CAPTIONS)
    for name, table in tables.scores.items():
        write_table(table, run / f"scores/{name}/0000.parquet", SCORES)
    write_table(built.manifest, run / "manifest/0000.parquet", MANIFEST)
    write_table(built.rejected, run / "rejected.csv", REJECTED)
    write_json(run / "funnel.json", sealed(built.funnel))
    write_text(run / "config.yaml", "layout: 2\nrun: bench\nfilters:\n  flow: {min: 0.2}\n")
    for k, stage in enumerate(STAGES):
        _write_samples(run, stage, (samples + k) // len(STAGES), media, rng)
    lines = ({"step": k, "loss": 2 / k, "lr": 0.1, "grad_norm": 1.0} for k in range(1, _STEPS + 1))
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    write_text(run / "train/stage1/metrics.jsonl", text)
    return run


def _stage_tables(count: int, rng: np.random.Generator) -> StageTables:
    number = np.arange(count)
    names = np.array([f"video{k:06d}" for k in range(-(-count // CLIPS_OF_A_VIDEO))], object)
    video, place = names[number // CLIPS_OF_A_VIDEO], number % CLIPS_OF_A_VIDEO
    shape: dict[str, Any] = {"height": 64, "width": 64, "aspect_ratio": 1.0, "resolution": 4096}
    good: dict[str, Any] = {"status": "ok", "detail": ""}
    duration = 2.0 * CLIPS_OF_A_VIDEO
    videos = pd.DataFrame({"id": names, "path": [f"raw/{name}.mp4" for name in names]})
    facts: dict[str, Any] = {
        **{"kind": "video", "sha256": names, "num_frames": 25 * int(duration), "fps": 25.0},
        **{**shape, "duration": duration, "codec": "h264", "pixel_format": "yuv420p"},
        **{"rotation": 0, "source_height": 64, "source_width": 64, "sar": 1.0, "has_audio": True},
        **dict.fromkeys(("variable_frame_rate", "hdr", "interlaced", "pulldown"), False),
        **{"licence": "CC0-1.0", **good},
    }
    videos = videos.assign(**facts)
    scenes = pd.DataFrame({"id": [f"{name}_0" for name in names], "video_id": names})
    facts = {
        **{"path": videos["path"], "kind": "video", "sha256": names, "start": 0.0},
        **{"end": duration, "start_frame": 0, "end_frame": 25 * int(duration), **good},
    }
    scenes = scenes.assign(**facts)
    ids = [f"{name}_0_{k:03d}" for name, k in zip(video, place, strict=True)]
    clips = pd.DataFrame({"id": ids, "video_id": video, "path": ids, "kind": "video"})
    facts = {
        **{"source": [f"raw/{name}.mp4" for name in video], "start": place * 2.0},
        **{"end": place * 2.0 + 2.0, "num_frames": 16, "fps": 8.0, **shape, "sha256": ids, **good},
    }
    clips = clips.assign(**facts)
    captions = pd.DataFrame({"id": ids, "caption": _texts(count, rng)})
    captions = captions.assign(text=captions["caption"], text_len=6, **good)
    scores = {
        "flow": {"flow": rng.gamma(2.0, 0.5, count)},
        "technical": {"sharpness": rng.normal(50.0, 15.0, count)},
        "match": {"match": rng.uniform(0.2, 0.4, count)},
    }
    base = clips[["id"]].assign(**good)
    tables = {name: base.assign(scorer=f"{name}-1", **column) for name, column in scores.items()}
    return StageTables(videos, scenes, clips, captions, tables)


def _texts(count: int, rng: np.random.Generator) -> list[str]:
    return ["a " + " ".join(words) for words in rng.choice(_WORDS, (count, 5))]


def _write_samples(
    run: Path, stage: str, count: int, media: list[Path], rng: np.random.Generator
) -> None:
    folder = run / "samples" / stage
    folder.mkdir(parents=True)
    rows, measured = [], []
    for k, prompt in enumerate(_texts(count, rng)):
        name = f"sample_{k:06d}_000"
        os.link(media[k % len(media)], folder / f"{name}.mp4")
        rows.append((name, f"{name}.mp4", prompt, 42, 8, 32, 32, 8.0))
        record = {"id": name, "prompt": prompt, "seed": 42, "k": 0, "checkpoint": stage}
        write_json(folder / f"{name}.json", sealed(record))
        measured.append({"id": name, "cosine": float(rng.uniform(0.2, 0.4))})
    write_table(pd.DataFrame(rows, columns=[*SAMPLES.columns]), folder / "samples.csv", SAMPLES)
    matched = {"mean": 0.3, "low": 0.29, "high": 0.31, "n": count}
    metrics = {"clipsim": {"version": 1, "matched": matched, "samples": measured}}
    evaluation = {"stage": stage, "num_samples": count, "num_prompts": count, "metrics": metrics}
    write_json(run / "evaluation" / f"{stage}.json", evaluation)


def _video(path: Path, seed: int) -> Path:
    """A second of a square that moves."""
    pixels = np.full((8, 32, 32, 3), 20 + 20 * seed, np.uint8)
    for k, frame in enumerate(pixels):
        frame[8:16, 3 * k : 3 * k + 8, seed % 3] = 230
    write_video(path, pixels, 8)
    return path
