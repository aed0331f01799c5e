"""One tiny run of the whole DAG, from raw videos to a report; once more; once from nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from opensora.cli.main import EXIT_USER, main
from opensora.datasets.stored import LatentDataset
from opensora.encoders.train_vae import VaeConfig, build_vae
from opensora.encoders.trainer import read_fields
from opensora.tables.columns import REJECTED, SAMPLES, SCENES
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest

REPOSITORY = Path(__file__).parents[2]
# a job computes with as many threads as its rule gets, so a run of one thread needs one core
CORES = "1" if os.environ.get("OMP_NUM_THREADS") == "1" else "2"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def snakemake(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
            *(*arguments, "--profile", str(REPOSITORY / "profiles/test")),
            *("--directory", str(folder), "--cores", CORES),
            *("--configfile", str(REPOSITORY / "configs/workflow/test.yaml")),
        ],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    snakemake(folder, "all")
    return folder / "results/test"


def test_every_broken_file_is_rejected_with_its_reason(run: Path) -> None:
    broken = pd.read_csv(run / "raw/truth/broken.csv")
    rejected = read_table(run / "rejected.csv", REJECTED)
    reasons = {Path(row.path).name: row.reason for row in rejected.itertuples()}
    assert len(broken) >= 6
    for row in broken.itertuples():
        assert reasons[Path(row.path).name] == row.reason


def test_the_cuts_are_found_exactly(run: Path) -> None:
    truth = pd.read_csv(run / "raw/truth/scenes.csv")
    truth = truth[truth["path"].str.contains("films/")]
    scenes = pd.concat([read_table(p, SCENES) for p in sorted((run / "scenes").iterdir())])
    scenes = scenes[(scenes["status"] == "ok") & (scenes["kind"] == "video")]
    expected = {(Path(row.path).name, row.start_frame) for row in truth.itertuples()}
    assert {(Path(row.path).name, row.start_frame) for row in scenes.itertuples()} == expected


def test_captions_land_on_their_clips(run: Path) -> None:
    manifest = read_manifest(run / "manifest")
    truth = pd.read_csv(run / "raw/truth/scenes.csv", keep_default_na=False)
    films = manifest[manifest["num_frames"] > 1]
    assert len(films) == 24  # six films of four scenes
    for clip in films.itertuples():
        same = truth[[clip.source.endswith(path) for path in truth["path"]]]
        scene = same[(same["start"] <= clip.start + 1e-3) & (same["end"] > clip.start)].iloc[0]
        for word in (scene.colour, scene["shape"], scene.direction):
            assert word in clip.text


def test_both_stages_trained_and_the_second_began_where_the_first_ended(run: Path) -> None:
    for stage in ("stage1", "stage2"):
        lines = (run / "train" / stage / "metrics.jsonl").read_text().splitlines()
        losses = [json.loads(line)["loss"] for line in lines]
        assert len(losses) == 4
        assert all(0 < loss < 10 for loss in losses)
    first = load_file(run / "train/stage1/ema.safetensors")
    second = load_file(run / "train/stage2/model.safetensors")
    assert first.keys() == second.keys()
    log = (run.parents[1] / "logs/train/test/stage2.log").read_text()
    ema = "path=results/test/train/stage1/ema.safetensors layout='Open-Sora'"
    assert f"{ema} loaded={len(first)} remade=0 missing=0 unexpected=0" in log
    start = load_file(run / "train/stage1/model.safetensors")
    assert any(not start[name].equal(second[name]) for name in start)


def test_held_out_clips_are_in_the_stores_and_in_no_step(run: Path) -> None:
    manifest = read_manifest(run / "manifest")
    held_out = set(manifest.loc[manifest["split"] == "validation", "id"])
    assert held_out
    for stage in ("stage1", "stage2"):
        stores = run / "latents" / stage, run / "embeddings"
        seen = {}
        for name in ("validation", "plan"):
            dataset = LatentDataset(*stores, run / f"buckets/{stage}/{name}.parquet")
            seen[name] = {x for k in range(len(dataset)) for x in dataset[k]["ids"]}
        assert seen["validation"]
        assert seen["validation"] <= held_out
        assert not seen["plan"] & held_out


def test_an_untrained_vae_does_not_pass_the_gate(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(run.parents[1])  # paths in the manifest begin there
    config = yaml.safe_load((run / "config.yaml").read_text())
    torch.manual_seed(0)
    fields = read_fields(REPOSITORY / config["models"]["vae"]["config"], [], VaeConfig)
    build_vae(fields).save_pretrained(tmp_path / "vae")  # decodes at 11.5 dB
    words = ["encode-videos", "--items", str(run / "buckets/stage1/0000.parquet")]
    words += ["--posterior", "mean", "--vae", f"{tmp_path}/vae", "--store", f"{tmp_path}/store"]
    words += ["--output", str(tmp_path / "latents.parquet")]
    least = config["encode"]["min_psnr"]
    assert main([*words, "--dtype", "fp32", "--min-psnr", str(least)]) == EXIT_USER
    assert f"dB, below {least:g} dB; check the VAE" in capfd.readouterr().err


def test_samples_are_videos_for_held_out_prompts(run: Path) -> None:
    samples = read_table(run / "samples/stage2/samples.csv", SAMPLES)
    prompts = (run / "raw/prompts.txt").read_text().splitlines()
    assert sorted(samples["prompt"]) == sorted(prompts)
    captions = set(pd.read_csv(run / "raw/captions.csv")["text"])
    assert not captions & set(prompts)
    for path in samples["path"]:
        assert (run / "samples/stage2" / path).stat().st_size > 1000


def test_the_ledger_of_each_stage_adds_up_to_the_manifest(run: Path) -> None:
    manifest = read_manifest(run / "manifest")
    for stage in ("stage1", "stage2"):
        ledger = json.loads((run / f"buckets/{stage}/ledger.json").read_text())
        never = [line for reasons in ledger["never"].values() for line in reasons.values()]
        held_out = [line for name, line in ledger["splits"].items() if name != "train"]
        lines = [*ledger["seen"], *never, *held_out]
        assert sum(line["clips"] for line in lines) == len(manifest)
        seconds = (manifest["end"] - manifest["start"]).sum()
        assert sum(line["seconds"] for line in lines) == pytest.approx(seconds)
        assert ledger["seen"]
        assert len(read_table(run / f"train/{stage}/rejected.csv", REJECTED)) == 0
    buckets = (run / "report/index_files/data/buckets.js").read_text()
    assert "seen once" in buckets
    assert "never: " in buckets


def test_evaluation_and_report_stand(run: Path) -> None:
    evaluation = json.loads((run / "evaluation/stage2.json").read_text())
    assert set(evaluation["skipped"]) == {
        *("aesthetic", "frechet_efficientnet_lite0", "fvd"),  # without weights
        *("first_frame_clip", "first_frame_psnr", "first_frame_ssim"),  # without references
    }
    data = run / "report/index_files/data"
    assert "no_video_stream" in (data / "curation.js").read_text()
    assert (data / "gallery.js").read_text().count(".mp4") >= 48


def test_a_second_run_has_nothing_to_do(run: Path) -> None:
    assert "Nothing to be done" in snakemake(run.parents[1], "all")


def test_snakemakes_own_report_holds_the_charts_by_part(run: Path) -> None:
    snakemake(run.parents[1], "all", "--report", "report.html")
    page = (run.parents[1] / "report.html").read_text()
    results, _ = json.JSONDecoder().raw_decode("{" + page.rpartition("var results = {")[2])
    shown = {one["filename"]: one for one in results.values()}
    pictures = run / "report/pictures"
    assert shown.keys() == {str(path.relative_to(pictures)) for path in pictures.glob("*/*.svg")}
    assert all(part in page for part in ("Curation", "Training", "Evaluation"))
    for name, one in shown.items():
        assert one["labels"] == {"run": "test", "picture": Path(name).stem}
        assert "run <strong>test</strong>" in one["caption"]
    captions = {name: one["caption"] for name, one in shown.items()}
    assert "Thresholds: frozen_ratio max 0.9." in captions["Curation/footage_kept_and_lost.svg"]
    for stage in ("stage1", "stage2"):
        assert "A curve of training" in captions[f"Training/{stage}_loss.svg"]
        assert "seed 42." in captions[f"Training/{stage}_loss.svg"]
    assert "with 95 % intervals" in captions["Evaluation/prompt_following.svg"]


def test_a_deleted_table_is_made_again_alone(run: Path) -> None:
    before = (run / "scores/flow/0001.parquet").read_bytes()
    (run / "scores/flow/0001.parquet").unlink()
    output = snakemake(run.parents[1], "results/test/scores/flow/0001.parquet")
    assert output.count("rule score_clips:") == 1
    assert "rule split_clips:" not in output
    assert (run / "scores/flow/0001.parquet").read_bytes() == before


def test_a_second_run_from_nothing_gives_the_same_bytes(
    run: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("again")
    snakemake(folder, "train_all")
    again = folder / "results/test"
    tables = ["manifest.csv", "rejected.csv", "funnel.json"]
    tables += [
        f"{name}/000{k}.parquet" for name in ("clips", "captions", "manifest") for k in (0, 1)
    ]
    plans = [f"buckets/{stage}/plan.parquet" for stage in ("stage1", "stage2")]
    indexes = [path.relative_to(run) for path in sorted(run.glob("latents/*/*.parquet"))]
    indexes += [path.relative_to(run) for path in sorted(run.glob("embeddings/*.parquet"))]
    store = run.parent / "store"
    stored = [path.relative_to(store) for path in sorted(store.rglob("*.safetensors"))]
    assert len(stored) >= 6
    for name in [*tables, *plans, *indexes]:
        assert (again / name).read_bytes() == (run / name).read_bytes(), name
    for name in stored:
        assert (again.parent / "store" / name).read_bytes() == (store / name).read_bytes(), name
    for stage in ("stage1", "stage2"):
        assert losses_of(again / "train" / stage) == losses_of(run / "train" / stage)


def losses_of(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]
