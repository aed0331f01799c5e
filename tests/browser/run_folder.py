"""A run as the pipeline leaves it, made in a second: tables by the real step, media by links.

Its texts are hostile: tags, quotes, turned lines, ten thousand characters.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from opensora.core.errors import OpenSoraError
from opensora.core.io import write_json, write_text
from opensora.core.seal import sealed
from opensora.curation.manifest.build_manifest import Manifest, StageTables, build_manifest
from opensora.curation.manifest.selection import Selection
from opensora.evaluation.against import compare, read_evaluations
from opensora.media.encode import write_video
from opensora.tables.columns import CAPTIONS, CLIPS, MANIFEST, REJECTED, SAMPLES, SCENES, SCORES
from opensora.tables.columns import VIDEOS as SOURCES
from opensora.tables.io import read_table, write_table
from opensora.training.certify.certificate import write_certificate
from opensora.training.certify.course import Course
from opensora.training.certify.verdict import Check

HOSTILE = (
    "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">",
    "\"double\" 'single' `back` ${1} \\u003c </script> --> ]]> &lt;b&gt; &amp;",
    "javascript:alert(1) data:text/html,x ../../etc file:///etc/passwd #q=1&stage=x %41",
    "\u202eturned\u202c \u2066isolated\u2069 \x1b[31mred \u2028 line",
    "مرحبا بالعالم، هذا اختبار שלום עולם",
    "long " * 2_000,
)
PROMPTS = ("a red circle moving left", "a blue square moving up", *HOSTILE)
CHECKS = [
    Check("resume after a signal", True, "losses of step 8 are equal to the last bit", 3),
    Check(
        *("resume after kill -9", False, "at step 8 model.x differs from an undisturbed run", 5),
        {"what": "model.x", "step": 8, "largest": 0.5},
    ),
    Check("resume by 2 instead of 1 processes", None, "one GPU is visible"),
]
SELECTION = Selection(filters={"flow": {"min": 0.2}}, max_distance=4)


@dataclass(frozen=True)
class Made:
    """Where the run is, and the tables that its manifest was made of."""

    run: Path
    benchmarks: Path
    tables: StageTables


def make_run(
    root: Path,
    *,
    clips: int = 60,
    samples: int = 8,
    stages: tuple[str, ...] = ("stage1", "stage1@4", "stage2"),
    seed: int = 0,
) -> Made:
    """Make `results/tiny` and benchmark files below a folder.

    Args:
        root: an empty folder.
        clips: of all videos together.
        samples: of each stage; two seeds a prompt.
        stages: of training; a milestone is written as `stage1@4`.
        seed: of the scores.
    """
    run = root / "results" / "tiny"
    media = [_video(root / "store" / f"{k}.mp4", k) for k in range(3)]
    tables = stage_tables(clips, seed, [str(run / f"clips/{k}.mp4") for k in range(3)])
    for k, file in enumerate(media):
        _link(file, run / f"clips/{k}.mp4")
    write_tables(run, tables, build_manifest(tables, SELECTION, validation_fraction=0.2))
    for stage in stages:
        _write_stage(run, stage, samples, media)
    lines = "".join(f'{{"step": {k}, "loss": {1 / k}}}\n' for k in range(1, 5))
    write_text(run / "models/vae/metrics.jsonl", lines)
    text = "layout: 2\nrun: tiny\nnum_shards: 1\nfilters:\n  flow: {min: 0.2}\n"
    text += "dedup: {max_distance: 4}\nscorers: [flow, technical, phash]\n"
    text += "stages:\n- {name: stage1, nodes: 2, gpus: 8}\n- {name: stage2, nodes: 1, gpus: 8}\n"
    write_text(run / "config.yaml", text + f"# {HOSTILE[0]}\n")
    records = {"ingest_videos/tiny/0000": 2.5}
    records |= {f"train/tiny/{stage}": 7200 for stage in stages}
    records |= {f"sample/tiny/{stage}": 30 for stage in stages}
    for name, seconds in records.items():
        lines = f"s\tmax_rss\tcpu_time\n{seconds}\t2048\t{seconds / 2}\n"
        write_text(root / "benchmarks" / f"{name}.tsv", lines)
    return Made(run, root / "benchmarks", tables)


def stage_tables(count: int, seed: int, files: list[str]) -> StageTables:
    """Videos, scenes, clips, captions and scores; some rows of each are rejected."""
    rng = np.random.default_rng(seed)
    number = np.arange(count)
    sources = max(count // 5, 2)
    video = np.array([f"video{k:05d}" for k in range(sources)], dtype=object)[number % sources]
    ids = np.array([f"clip{k:06d}" for k in number], dtype=object)
    kind = np.where(video == "video00001", "image", "video")
    clips = pd.DataFrame(
        {
            **{"id": ids, "video_id": video, "path": np.array(files, dtype=object)[number % 3]},
            **{"kind": kind, "source": [f"raw/{name} <b>&'\".mp4" for name in video]},
            **{"start": (number // sources) * 2.0, "end": (number // sources) * 2.0 + 2.0},
            **{"num_frames": np.where(kind == "image", 1, 16), "fps": 8.0},
            **{"height": rng.choice([32, 64], count), "width": 64},
            **{"aspect_ratio": 1.0, "resolution": 0, "sha256": ids, "status": "ok", "detail": ""},
        }
    )
    clips["aspect_ratio"] = clips["height"] / clips["width"]
    clips["resolution"] = clips["height"] * clips["width"]
    clips.loc[number % 17 == 3, ["status", "detail"]] = ["too_short", "0.5 s is below 2 s"]
    first = clips.groupby("video_id", sort=False)
    videos = pd.DataFrame({"id": first["id"].first().index, "path": first["source"].first()})
    videos = videos.assign(kind=first["kind"].first().to_numpy(), sha256="", num_frames=100)
    videos = videos.assign(fps=25.0, height=64, width=64, aspect_ratio=1.0, resolution=4096)
    licences = np.array(["CC0-1.0", "CC-BY-4.0", ""], dtype=object)
    videos = videos.assign(
        **{"duration": first["end"].max().to_numpy(), "codec": "h264", "pixel_format": "yuv420p"},
        **{"rotation": 0, "source_height": 64, "source_width": 64, "sar": 1.0},
        **dict.fromkeys(("variable_frame_rate", "hdr", "interlaced", "pulldown"), False),
        **{"has_audio": True, "licence": licences[np.arange(len(videos)) % 3]},
        **{"status": "ok", "detail": ""},
    ).reset_index(drop=True)
    scenes = pd.DataFrame({"id": [f"{name}_0" for name in videos["id"]], "video_id": videos["id"]})
    scenes = scenes.assign(path=videos["path"], kind=videos["kind"], sha256="", start=0.0)
    scenes = scenes.assign(end=videos["duration"], start_frame=0, end_frame=100)
    scenes = scenes.assign(status="ok", detail="")
    clips["id"] = [f"{name}_0_{k:03d}" for name, k in zip(video, number // sources, strict=True)]
    texts = [PROMPTS[k % len(PROMPTS)] for k in number]
    captions = pd.DataFrame({"id": clips["id"], "caption": texts, "text": texts})
    captions = captions.assign(text_len=[len(t.split()) for t in texts], status="ok", detail="")
    return StageTables(videos, scenes, clips, captions, _scores(clips, rng))


def _scores(clips: pd.DataFrame, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Scores at full precision, some missing; hashes of which some are near one another."""
    count = len(clips)
    flow = rng.gamma(2.0, 0.3, count).round(6)
    flow[clips["kind"] == "image"] = np.nan
    sharpness, match = rng.normal(50.0, 15.0, count), rng.uniform(0.2, 0.4, count)
    match[::11] = np.nan
    bits = rng.integers(0, 2, (max(count // 3, 1), 288))[rng.integers(0, max(count // 3, 1), count)]
    for row in range(count):
        bits[row, rng.integers(0, 288, rng.integers(0, 6))] ^= 1
    hashes = [np.packbits(row).tobytes().hex() for row in bits]
    found = {"flow": {"flow": flow}, "technical": {"sharpness": sharpness, "match": match}}
    found["phash"] = {"phash": hashes}
    base = clips[["id"]].assign(status="ok", detail="")
    return {name: base.assign(**columns, scorer=f"{name}-2") for name, columns in found.items()}


def write_tables(run: Path, tables: StageTables, built: Manifest) -> None:
    """Write what the stages and build_manifest write."""
    write_table(tables.videos, run / "ingest/0000.parquet", SOURCES)
    write_table(tables.scenes, run / "scenes/0000.parquet", SCENES)
    write_table(tables.clips, run / "clips/0000.parquet", CLIPS)
    write_table(tables.captions, run / "captions/0000.parquet", CAPTIONS)
    for name, table in tables.scores.items():
        write_table(table, run / f"scores/{name}/0000.parquet", SCORES)
    write_table(built.manifest, run / "manifest/0000.parquet", MANIFEST)
    write_table(built.rejected, run / "rejected.csv", REJECTED)
    write_json(run / "funnel.json", sealed(built.funnel))


def _write_stage(run: Path, stage: str, samples: int, media: list[Path]) -> None:
    rows, verdicts = [], []
    for k in range(samples):
        name = f"sample_{k // 2:04d}_{k % 2:03d}"
        prompt = PROMPTS[(k // 2) % len(PROMPTS)]
        _link(media[k % len(media)], run / "samples" / stage / f"{name}.mp4")
        rows.append((name, f"{name}.mp4", prompt, 42, 8, 32, 32 * (1 + k % 2), 8.0))
        fields = {"id": name, "prompts": [prompt], "seed": 42, "k": k % 2, "checkpoint": HOSTILE[1]}
        write_json(run / "samples" / stage / f"{name}.json", fields)
        verdicts.append({"id": name, "cosine": 0.2 + 0.1 * ((k * 7) % samples) / samples})
    table = pd.DataFrame(rows, columns=list(SAMPLES.columns))
    write_table(table, run / "samples" / stage / "samples.csv", SAMPLES)
    matched = {"mean": 0.25, "low": 0.2, "high": 0.3, "n": samples}
    metrics = {"clipsim": {"version": 1, "matched": matched, "samples": verdicts}}
    evaluation = {"stage": stage, "num_samples": samples, "num_prompts": samples // 2}
    evaluation |= {"metrics": metrics, "skipped": {"flow": HOSTILE[0]}}
    write_json(run / "evaluation" / f"{stage}.json", evaluation)
    if "@" in stage:
        return
    if stage == "stage1":
        with suppress(OpenSoraError):  # says that a check failed
            write_certificate(run / "train" / stage, Course(0, 0, 8, 12, 1, 1, 2), CHECKS, {})
    lines = [
        {
            **{"step": k, "loss": 2 / k, "loss_ema": 2.1 / k, "grad_norm": 1.0, "lr": 0.1},
            **{"tokens_per_s": 100.0 + k, "samples_per_s": 2.0, "data_wait_s": 0.1, "mfu": 0.4},
            **{
                "memory_gb": 1.0,
                "seconds": float(k),
                "held_out_loss": 3 / k if k % 4 == 0 else None,
            },
            "loss_by_band": {"0.0-0.5": 2 / k, "0.5-1.0": 1 / k},
            "loss_by_bucket": {"32px|1|1.00": 2 / k, "32px|8|1.00": 1 / k},
        }
        for k in range(1, 13)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_text(run / "train" / stage / "metrics.jsonl", text)
    write_text(run / "train" / stage / "config.py", f"name = {HOSTILE[0]!r}\n")
    write_json(run / "buckets" / stage / "summary.json", sealed(_summary()))
    ids = read_table(run / "manifest/0000.parquet")["id"]
    places = np.array(["32px|1|1.00", "32px|8|1.00"], object)[np.arange(len(ids)) % 3 // 2]
    write_table(
        pd.DataFrame({"id": ids, "bucket": places}), run / "buckets" / stage / "0000.parquet"
    )
    some = {"clips": 30, "seconds": 60.0}
    ledger = {"total": some, "splits": {"train": some}, "seen": [{"times": 3, **some}]}
    ledger |= {"max_times": 3, "in_a_bucket": some, "rejected": {}}
    ledger |= {"never": {"no_bucket": {"too_few_frames": some}, "left_over": {}, "rejected": {}}}
    write_json(run / "buckets" / stage / "ledger.json", sealed(ledger))


def write_comparison(folder: Path) -> Path:
    """What `opensora evaluate --against` writes of two runs, of which one is better."""
    names = [f"{prompt}{seed}" for prompt in range(4) for seed in range(2)]
    facts = {name: {"prompt": f"{HOSTILE[0]} {name[0]}", "seed": int(name[1])} for name in names}
    paths = []
    for number, run in enumerate(("one", "two")):
        metrics = {
            "clipsim": {
                "better": "higher",
                "values": [0.2 + 0.1 * number + k / 100 for k in range(8)],
            },
            "flow": {"better": None, "values": [k + (-1) ** k * number for k in range(8)]},
            "vbench": {"better": "higher", "values": [0.5] * 8, "version": 1 + number},
        }
        for metric in metrics.values():
            values = metric.pop("values")
            mean = sum(values) / 8
            metric |= {"unit": "", "of": "samples", "count": 8, "mean": mean}
            metric |= {"low": mean - 0.05, "high": mean + 0.05, "version": metric.get("version", 1)}
            metric["samples"] = dict(zip(names, values, strict=True))
        paths.append(folder / run / "stage1.json")
        content = {"version": 2, "metrics": metrics, "samples": facts, "skipped": {}}
        write_json(paths[-1], content)
    write_json(folder / "against.json", compare(read_evaluations(paths)))
    return folder / "against.json"


def _summary() -> dict:
    cell = {"batch_size": 4, "batches": 3, "cropped": 0.1, "height": 32, "width": 32}
    buckets = {
        "32px|1|1.00": {**cell, "num_frames": 1, "samples": 12, "tokens_per_sample": 16},
        "32px|8|1.00": {**cell, "num_frames": 8, "samples": 10, "tokens_per_sample": 128},
    }
    totals = {"batches_first_epoch": 6, "clips": 22}
    sources = {
        "web": {"clips": 16, "samples": 30, "weight": 3.0},
        "own": {"clips": 6, "samples": 10, "weight": 1.0},
    }
    facts = {"dropped": {"remainder": 2}, "hash": "8" * 64, "totals": totals}
    return {"buckets": buckets, "sources": sources, **facts}


def _video(path: Path, seed: int) -> Path:
    """Two seconds of a square that moves."""
    pixels = np.full((16, 32, 32, 3), 30 + 20 * seed, np.uint8)
    for k, frame in enumerate(pixels):
        frame[8:16, k : k + 8, seed] = 230
    write_video(path, pixels, 8)
    return path


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)
