"""Several sources in one run: whose settings a job has, and what starts again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from opensora.dag.dry_run import PlannedJob, dry_run
from opensora.dag.explain import explain_jobs
from opensora.media.encode import write_video
from opensora.plans.compile import BatchPlan
from opensora.tables.columns import REJECTED
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest
from tests.conftest import tiny_frames

REPOSITORY = Path(__file__).parents[2]
TARGET = "results/test/buckets/stage1/plan.parquet"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Config = dict[str, Any]


def config_of(folder: Path) -> Config:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    for name in ("demo", "filters", "captions"):
        config.pop(name, None)
    config["stages"] = [{"name": "stage1", "config": str(folder / "stage1.py")}]
    config["sample"]["prompts"] = "prompts.txt"
    config |= {"scorers": ["technical"], "validation_fraction": 0.0}
    config["clips"] = {"fps": 8, "short_side": 32, "min_s": 0.5}
    config["sources"] = [
        {"name": "web", "videos": ["web"], "weight": 3.0, "licence": "CC-BY"},
        {"name": "bought", "manifest": "bought", "weight": 1.0, "licence": "CC0"},
        {
            **{"name": "film", "videos": ["film"], "weight": 1.0},
            **{"scenes": {"detector": "none"}, "clips": {"mode": "copy", "min_s": 0.5}},
            "captions": {"captioner": "template"},
        },
    ]
    return config


def make_sources(folder: Path) -> None:
    """Videos with captions beside them, films, and ready clips; one film is one of the videos."""
    rng = np.random.default_rng(0)
    for name in ("web", "bought", "film"):
        (folder / name).mkdir()
    for k in range(3):
        write_video(folder / f"web/{k}.mp4", tiny_frames() + k, 8)
        (folder / f"web/{k}.txt").write_text(f"a box of number {k}")
    for place, count, frames in (("film", 2, 16), ("bought", 5, 8)):
        for k in range(count):
            pixels = rng.integers(0, 256, (frames, 32, 32, 3), np.uint8)
            write_video(folder / f"{place}/{k}.mp4", pixels, 8)
    for k in range(4):
        (folder / f"bought/{k}.txt").write_text(f"noise of number {k}")
    (folder / "film/again.mp4").write_bytes((folder / "web/0.mp4").read_bytes())
    (folder / "prompts.txt").write_text("a box\n")
    (folder / "stage1.py").write_text(
        f'_base_ = ["{REPOSITORY}/tests/data/configs/stage1.py"]\n'
        'bucket_config = dict(_delete_=True, **{"32px": {16: (1.0, 1), 8: (1.0, 2)}})\n'
        "epochs = 3\nnum_steps = None\n"
    )


def snakemake(folder: Path, config: Config, *words: str) -> str:
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("--profile", str(REPOSITORY / "profiles/test"), "--directory", str(folder)),
        *("--configfile", str(folder / "config.yaml"), "--cores", "2", *words),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run up to the plan of its stage."""
    folder = tmp_path_factory.mktemp("sources")
    make_sources(folder)
    snakemake(folder, config_of(folder), "--until", "assign_buckets", "--", TARGET)
    return folder


def planned(folder: Path, config: Config) -> list[PlannedJob]:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return dry_run(path, target=TARGET, snakefile=REPOSITORY / "Snakefile", folder=folder)


def started(folder: Path, config: Config) -> dict[str, int]:
    """Jobs that a change starts, without those that follow."""
    found = explain_jobs(planned(folder, config), folder)
    return {entry.rule: entry.jobs for entry in found if not entry.why.startswith("follows")}


def test_every_source_has_its_name_licence_captions_and_shards(finished: Path) -> None:
    manifest = read_manifest(finished / "results/test/manifest")
    named = manifest.groupby("source_name")
    assert named.size().to_dict() == {"bought": 4, "film": 2, "web": 9}
    assert all(manifest["id"].str.partition("_")[0] == manifest["source_name"])
    assert {name: set(rows["licence"]) for name, rows in named} == {
        "bought": {"CC0"},
        "film": {""},
        "web": {"CC-BY"},
    }
    assert set(named.get_group("film")["text"]) == {"video of film"}
    shards = {name: set(rows["shard"]) for name, rows in named}
    assert shards["web"] <= {0, 1}
    assert shards["film"] <= {2, 3}
    assert shards["bought"] <= {4, 5}
    assert set(manifest["split"]) == {"train"}


def test_what_falls_out_names_its_source(finished: Path) -> None:
    rejected = read_table(finished / "results/test/rejected.csv", REJECTED)
    found = {(row.source_name, row.reason) for row in rejected.itertuples()}
    assert found == {("film", "duplicate"), ("bought", "no_caption")}
    funnel = json.loads((finished / "results/test/funnel.json").read_text())
    stages = {stage["stage"]: stage for stage in funnel["stages"]}
    assert stages["import_manifest"]["rows_in"] == 11 + 5
    assert stages["build_manifest"]["rows_in"] == 11 + 4
    card = (finished / "results/test/data_card.md").read_text()
    assert "| bought | 4 |" in card


def test_the_plan_has_the_weights(finished: Path) -> None:
    plan = BatchPlan(finished / TARGET)
    for epoch in range(3):
        places = np.flatnonzero(plan.table["epoch"].to_numpy() == epoch)
        ids = [name for place in places for name in plan[int(place)].ids]
        counts = {name: sum(one.startswith(f"{name}_") for one in ids) for name in ("web", "film")}
        assert abs(counts["web"] - len(ids) * 3 / 5) < 1
        assert abs(counts["film"] - len(ids) / 5) < 1
    summary = json.loads((finished / "results/test/buckets/stage1/summary.json").read_text())
    assert summary["sources"]["web"]["weight"] == 3


def test_nothing_starts_again_unchanged(finished: Path) -> None:
    assert planned(finished, config_of(finished)) == []


@pytest.mark.parametrize(
    ("place", "field", "value", "expected"),
    [
        (0, "weight", 2.0, {"assign_buckets": 1}),
        (0, "filters", {"brightness": {"min": 2}}, {"build_manifest": 1}),
        (1, "filters", {"num_frames": {"min": 2}}, {"build_manifest": 1}),
        (2, "keep_if", ["brightness > 1"], {"build_manifest": 1}),
        (0, "validation_fraction", 0.2, {"build_manifest": 1}),
        (2, "captions", {"captioner": "sidecar"}, {"caption_clips": 2}),
        (2, "scenes", {"detector": "content"}, {"detect_scenes": 2}),
        (0, "clips", {"fps": 4, "min_s": 0.5}, {"split_clips": 2}),
        (0, "licence", "CC0", {"ingest_videos": 2}),
        (1, "licence", "CC-BY", {"import_manifest": 1}),
    ],
)
def test_a_change_of_a_source_starts_what_it_changes(
    place: int, field: str, value: Any, expected: dict[str, int], finished: Path
) -> None:
    config = config_of(finished)
    config["sources"][place][field] = value
    assert started(finished, config) == expected


def test_a_file_more_in_a_folder_of_ready_clips_imports_it_again(finished: Path) -> None:
    more = finished / "bought/more.txt"
    more.write_text("a clip to come")
    try:
        assert started(finished, config_of(finished)) == {"import_manifest": 1}
    finally:
        more.unlink()


def test_a_run_of_ready_clips_alone_cuts_nothing(finished: Path) -> None:
    config = config_of(finished)
    config["sources"] = [config["sources"][1], {"name": "more", "manifest": "bought", "weight": 2}]
    config["run"] = "ready"
    path = finished / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    jobs = dry_run(path, target="all", snakefile=REPOSITORY / "Snakefile", folder=finished)
    rules = {job.rule for job in jobs}
    assert rules >= {"import_manifest", "build_manifest", "train_vae", "encode_videos", "report"}
    assert not rules & {"ingest_videos", "split_clips", "caption_clips", "index_tables"}
    assert sum(job.rule == "encode_videos" for job in jobs) == 4
