"""Where a run begins: videos, a table of scenes, a table of ready clips."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from opensora.cli.main import main
from opensora.core.seed import stable_shard
from opensora.media.encode import write_video
from opensora.tables.columns import CLIPS, REJECTED
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest
from tests import forked
from tests.conftest import tiny_frames
from tests.tiny_encoders import save_t5, save_vae

REPOSITORY = Path(__file__).parents[2]
CURATION = {
    *("make_demo", "ingest_videos", "detect_scenes", "split_clips", "caption_clips"),
    *("score_clips", "score_captions", "index_tables", "build_manifest"),
}


def configure(folder: Path, **changes: Any) -> None:
    """Write the config of a tiny run that begins elsewhere."""
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    for name in ("demo", "clips", "scorers", "filters"):
        del config[name]
    config["stages"] = config["stages"][:1]
    config["sample"]["prompts"] = "prompts.txt"
    (folder / "prompts.txt").write_text("a red circle\n")
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))


def snakemake(folder: Path, *words: str, timeout: int = 300) -> str:
    words = ("--snakefile", str(REPOSITORY / "Snakefile"), *words)
    done = forked.run(
        *("snakemake", *words, "--profile", str(REPOSITORY / "profiles/test")),
        *("--directory", str(folder), "--cores", "2", "--configfile", f"{folder}/config.yaml"),
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return done.stdout + done.stderr


def jobs(folder: Path, target: str) -> dict[str, int]:
    """Rules of the job graph and how often each runs."""
    said = snakemake(folder, target, "--dry-run", "--verbose")
    table = said.rpartition("Job stats:")[2].partition("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


def test_a_manifest_enters_at_assign_buckets(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").touch()
    configure(tmp_path, manifest="meta.csv")
    graph = jobs(tmp_path, "all")
    assert not CURATION & set(graph)
    assert graph["import_manifest"] == graph["assign_buckets"] == graph["report"] == 1
    assert graph["encode_videos"] == 2
    assert {"train_vae", "train_clip", "train_text_encoder"} <= set(graph)
    assert jobs(tmp_path, "curate_all") == {"import_manifest": 1, "curate_all": 1}


def test_a_folder_of_clips_enters_as_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/a.tar").touch()
    configure(tmp_path, manifest="shards")
    assert jobs(tmp_path, "curate_all") == {"import_manifest": 1, "curate_all": 1}
    said = snakemake(tmp_path, "curate_all", "--dry-run", "--verbose", "--printshellcmds")
    assert "import-manifest shards --store results/store/unpacked" in " ".join(said.split())


def test_a_table_of_scenes_enters_at_split_clips(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "scenes.csv").touch()
    configure(tmp_path, videos=["videos"], scenes={"table": "scenes.csv"})
    graph = jobs(tmp_path, "all")
    assert "detect_scenes" not in graph
    assert graph["ingest_videos"] == graph["import_scenes"] == graph["split_clips"] == 2


def test_files_that_are_clips_are_not_searched_for_cuts(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    configure(tmp_path, videos=["videos"], scenes={"detector": "none"}, clips={"mode": "copy"})
    assert jobs(tmp_path, "all")["detect_scenes"] == 2
    said = snakemake(tmp_path, "curate_all", "--dry-run", "-p", "--verbose")
    assert "--detector none" in said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_scenes_of_a_table_become_clips_and_every_row_is_booked(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for k in range(2):
        write_video(tmp_path / f"videos/{k}.mp4", tiny_frames() + k, 8)
    (tmp_path / "scenes.csv").write_text(
        "path,start,end,text\nvideos/0.mp4,0,2,a red box\nvideos/0.mp4,0:00:02,4,a green box\n"
        "gone.mp4,0,2,nobody\n"
    )
    tables = {"scenes": {"table": "scenes.csv"}, "captions": {"sidecar": ["scenes.csv"]}}
    clips = {"fps": 8, "short_side": 40}
    configure(tmp_path, videos=["videos"], clips=clips, scorers=["technical"], **tables)
    snakemake(tmp_path, "curate_all")
    run = tmp_path / "results/test"
    manifest = read_manifest(run / "manifest")
    assert manifest["text"].tolist() == ["a red box", "a green box"]
    assert manifest["start"].tolist() == [0.0, 2.0]
    rejected = read_table(run / "rejected.csv", REJECTED)
    assert {Path(row.path).name: row.reason for row in rejected.itertuples()} == {
        "1.mp4": "no_scene",
        "gone.mp4": "no_video",
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_run_kept_goes_out_and_is_a_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By way of `opensora export` and `opensora init`, whose config is run as it is written."""
    for name in ("Snakefile", "workflow", "profiles", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "videos").mkdir()
    for k in range(10):
        frames = np.full((20 + k, 32, 32, 3), 20 * k, np.uint8)
        write_video(tmp_path / f"videos/{k}.mp4", frames, 8)
        (tmp_path / f"videos/{k}.txt").write_text(f'a "grey" film, number {k}')
    ready = {"scenes": {"detector": "none"}, "clips": {"mode": "copy", "min_s": 0.5}}
    shares = {"num_shards": 1, "validation_fraction": 0.3}
    configure(tmp_path, videos=["videos"], scorers=["technical"], **ready, **shares)
    snakemake(tmp_path, "curate_all")
    monkeypatch.chdir(tmp_path)
    kept = read_manifest("results/test/manifest").sort_values(["split", "id"])
    assert kept["split"].value_counts().to_dict() == {"train": 7, "validation": 3}
    words = ["--format", "jsonl", "--output", "mine/films"]
    assert main(["export", "--manifest", "results/test/manifest", *words]) == 0
    assert main(["init", "mine/films", "--output", "mine/back.yaml"]) == 0
    (tmp_path / "mine/back.yaml").rename(tmp_path / "config.yaml")
    snakemake(tmp_path, "curate_all")
    again = read_manifest("results/back/manifest")
    for _, ids in again.groupby(["shard", "split"])["id"]:
        assert ids.is_monotonic_increasing  # in their order, dealt out to two shards
    again = again.sort_values(["split", "id"])
    for name in ("id", "sha256", "text", "caption", "split", "num_frames", "start", "end"):
        assert list(again[name]) == list(kept[name]), name


@pytest.fixture
def encoders(tmp_path: Path) -> dict[str, dict[str, str]]:
    """Folders of an untrained autoencoder and text encoder, as a config names them."""
    save_vae(tmp_path / "vae")
    save_t5(tmp_path / "t5")
    # no rule of these runs reads the CLIP, which footage of one's own needs beside a VAE
    folders = {"vae": "./vae", "text_encoder": "./t5", "clip": "org/clip"}
    return {name: {"from_pretrained": folder} for name, folder in folders.items()}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_csv_of_the_reference_is_a_run(
    tmp_path: Path, encoders: dict[str, dict[str, str]]
) -> None:
    """Columns as Open-Sora's tools write them; one file is not there, one has no caption."""
    rng = np.random.default_rng(0)
    lines = ["path,text,num_frames,height,width,aspect_ratio,fps,resolution,aes"]
    (tmp_path / "clips").mkdir()
    for k in range(8):
        frames = rng.integers(0, 256, (8, 32, 32, 3), np.uint8)
        write_video(tmp_path / f"clips/{k}.mp4", frames, 8)
        text = f"box {k} moves" if k else ""
        lines.append(f"clips/{k}.mp4,{text},8,32,32,1.0,8.0,1024,5.{k}")
    lines.append("clips/gone.mp4,a box,8,32,32,1.0,8.0,1024,5.0")
    (tmp_path / "meta.csv").write_text("\n".join(lines) + "\n")
    encode = {"vae_stride": [1, 4, 4], "dtype": "fp32", "posterior": "mean", "min_psnr": 0}
    configure(
        tmp_path, manifest="meta.csv", models=encoders, encode=encode, validation_fraction=0.0
    )
    snakemake(tmp_path, "train_all")
    run = tmp_path / "results/test"
    manifest = read_manifest(run / "manifest")
    assert len(manifest) == 7
    assert sorted(manifest["aes"]) == [5.1, 5.2, 5.3, 5.4, 5.5, 5.6, 5.7]
    assert manifest["shard"].tolist() == [stable_shard(name, 2) for name in manifest["id"]]
    assert set(manifest["shard"]) == {0, 1}
    parts = [read_table(run / f"clips/000{shard}.parquet", CLIPS) for shard in (0, 1)]
    assert [name for part in parts for name in part["id"]] == manifest["id"].tolist()
    assert read_table(run / "manifest.csv")["aes"].tolist() == sorted(manifest["aes"])
    assert manifest["sha256"].str.len().eq(64).all()
    rejected = read_table(run / "rejected.csv", REJECTED)
    assert dict(zip(rejected["path"], rejected["reason"], strict=True)) == {
        "clips/0.mp4": "no_caption",
        "clips/gone.mp4": "missing",
    }
    (stage,) = json.loads((run / "funnel.json").read_text())["stages"]
    assert (stage["rows_in"], stage["rows_kept"]) == (9, 7)
    assert (run / "train/stage1/ema.safetensors").is_file()
    lines = (run / "train/stage1/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4  # num_steps: three batches of two of seven clips an epoch
    assert "Nothing to be done" in snakemake(tmp_path, "train_all")
