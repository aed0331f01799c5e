"""Curation does again what a change touches, and nothing else."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from opensora.curation.ingest.discovery import shard_of
from opensora.dag.dry_run import PlannedJob, dry_run
from opensora.dag.explain import explain_jobs
from opensora.media.encode import write_video
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest

REPOSITORY = Path(__file__).parents[2]
NUM_SHARDS = 8
NUM_VIDEOS = 24
TABLES = ["ingest", "scenes", "clips", "captions", "scores/technical"]
OF_ONE_SHARD = dict.fromkeys(
    ["ingest_videos", "detect_scenes", "split_clips", "caption_clips", "score_clips"], 1
)
AT_ONCE = {"index_tables": 1, "build_manifest": 1}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def add_video(folder: Path, number: int) -> Path:
    """A square that moves over a ground of its own colour, with its caption beside it."""
    colour = np.random.default_rng(number).integers(60, 200, 3)
    frames = np.empty((12, 32, 32, 3), np.uint8)
    frames[:] = colour
    for t, frame in enumerate(frames):
        frame[8:16, 4 + t : 12 + t] = 255 - colour
    path = folder / f"videos/{number:03d}.mp4"
    path.parent.mkdir(exist_ok=True)
    write_video(path, frames, 8)
    path.with_suffix(".txt").write_text(f"square number {number} moves to the right")
    return path


def write_config(folder: Path, **changes: object) -> None:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    del config["demo"]
    config |= {"run": "own", "videos": ["videos"], "num_shards": NUM_SHARDS}
    config |= {"scorers": ["technical"], "filters": {"frozen_ratio": {"max": 0.9}}}
    config["clips"] = {"min_s": 1.0, "max_s": 2.0, "fps": 8, "short_side": 32}
    config["sample"]["prompts"] = "prompts.txt"
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))
    (folder / "prompts.txt").write_text("a square\n")


def curate(folder: Path, target: str = "curate_all") -> None:
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("--profile", str(REPOSITORY / "profiles/test"), "--directory", str(folder)),
        *("--configfile", str(folder / "config.yaml"), "--", target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]


def planned(folder: Path, target: str = "curate_all") -> list[PlannedJob]:
    config, snakefile = folder / "config.yaml", REPOSITORY / "Snakefile"
    return dry_run(config, target=target, snakefile=snakefile, folder=folder)


def to_run(folder: Path, target: str = "curate_all") -> dict[str, int]:
    """Rule -> number of its jobs that would run now."""
    return dict(Counter(job.rule for job in planned(folder, target)))


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and content of every table of every shard."""
    results = folder / "results/own"
    paths = [results / table / f"{k:04d}.parquet" for table in TABLES for k in range(NUM_SHARDS)]
    return {
        str(path.relative_to(results)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in paths
    }


def clip_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every clip in the store."""
    found = (folder / "results/store/clips").rglob("*.mp4")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def score_rows(folder: Path, shard: str) -> int:
    """Rows that the score store has of a shard."""
    files = (folder / "results/store/scores").glob(f"technical-*/{shard}-*.jsonl")
    return sum(len(path.read_text().splitlines()) for path in files)


def clips_of(folder: Path, shard: str) -> pd.DataFrame:
    return read_table(folder / f"results/own/clips/{shard}.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished curation of some videos."""
    folder = tmp_path_factory.mktemp("own")
    for number in range(NUM_VIDEOS):
        add_video(folder, number)
    write_config(folder)
    assert to_run(folder) == {
        **dict.fromkeys(OF_ONE_SHARD, NUM_SHARDS),
        **AT_ONCE,
    }
    curate(folder)
    assert to_run(folder) == {}
    return folder


def test_every_video_is_kept_with_the_caption_beside_it(folder: Path) -> None:
    manifest = read_manifest(folder / "results/own/manifest")
    texts = dict(zip(manifest["source"], manifest["text"], strict=True))
    assert {Path(source).stem: text.split()[2] for source, text in texts.items()} == {
        f"{number:03d}": str(number) for number in range(NUM_VIDEOS)
    }


def test_one_more_video_runs_its_own_shard_and_cuts_its_own_clips(folder: Path) -> None:
    before, cut = state(folder), clip_files(folder)
    assert len(cut) == NUM_VIDEOS
    path = add_video(folder, NUM_VIDEOS)
    shard = f"{shard_of(str(path), NUM_SHARDS):04d}"
    assert to_run(folder) == {**OF_ONE_SHARD, **AT_ONCE}
    curate(folder)
    after = state(folder)
    assert {name for name in after if after[name][0] != before[name][0]} == {
        f"{table}/{shard}.parquet" for table in TABLES
    }
    assert len(read_manifest(folder / "results/own/manifest")) == NUM_VIDEOS + 1
    clips = clips_of(folder, shard)
    new = clips.loc[clips["source"].str.endswith(path.name), "path"]
    assert {Path(name).name for name in new} == clip_files(folder).keys() - cut.keys()
    assert len(new) == 1
    assert new.iloc[0].startswith("results/store/clips/")
    assert {name: clip_files(folder)[name] for name in cut} == cut
    log = (folder / f"logs/ingest_videos/own/{shard}.log").read_text()
    others = len(read_table(folder / f"results/own/ingest/{shard}.parquet")) - 1
    assert others == 0 or f"known_files={others} new_files=1" in log


def test_a_renamed_video_runs_its_shard_and_cuts_nothing(folder: Path) -> None:
    cut, path = clip_files(folder), folder / "videos/001.mp4"
    shard = f"{shard_of(str(path), NUM_SHARDS):04d}"
    other = path.with_name("one-more-name.mp4")
    scored = score_rows(folder, shard)
    for suffix in (".mp4", ".txt"):
        path.with_suffix(suffix).rename(other.with_suffix(suffix))
    assert to_run(folder)["split_clips"] == 1
    curate(folder)
    renamed = clips_of(folder, shard)
    assert renamed["id"].str.startswith("one-more-name").sum() == 1
    assert clip_files(folder) == cut
    assert score_rows(folder, shard) == scored  # a score follows from the clip's bytes too
    for suffix in (".mp4", ".txt"):
        other.with_suffix(suffix).rename(path.with_suffix(suffix))
    curate(folder)
    assert clip_files(folder) == cut


def test_an_edited_caption_runs_the_captions_of_its_shard(folder: Path) -> None:
    text = folder / "videos/000.txt"
    before, facts = text.read_text(), text.stat()
    text.write_text("a square of another kind")
    assert to_run(folder) == {"caption_clips": 1, **AT_ONCE}
    text.write_text(before)
    os.utime(text, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert to_run(folder) == {}


def test_a_deleted_table_is_made_again_alone(folder: Path) -> None:
    name = "scores/technical/0003.parquet"
    before = state(folder)[name][1]
    (folder / "results/own" / name).unlink()
    assert to_run(folder, f"results/own/{name}") == {"score_clips": 1}
    curate(folder, f"results/own/{name}")
    assert state(folder)[name][1] == before


def test_a_threshold_scores_nothing_again(folder: Path) -> None:
    curate(folder)
    write_config(folder, filters={"frozen_ratio": {"max": 0.5}})
    assert to_run(folder) == {"build_manifest": 1}
    write_config(folder)
    assert to_run(folder) == {}


def test_a_changed_clip_length_is_explained(folder: Path) -> None:
    write_config(folder, clips={"min_s": 1.0, "max_s": 3.0, "fps": 8, "short_side": 32})
    found = {entry.rule: entry for entry in explain_jobs(planned(folder), folder)}
    write_config(folder)
    assert next(iter(found)) == "split_clips"
    assert found["split_clips"].why == "settings changed: max_s 2.0 -> 3.0"
    assert found["split_clips"].shards == "0000-0007"
    assert found["score_clips"].why == "follows split_clips"
    assert all(entry.seconds > 0 and not entry.unknown for entry in found.values())
    assert set(found) == {"split_clips", "caption_clips", "score_clips", *AT_ONCE}
