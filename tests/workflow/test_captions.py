"""A run whose clips have several captions, from sidecars to the batches that training sees."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from opensora.config.registry import MODELS, build_module
from opensora.core.seed import take_turns
from opensora.dag.dry_run import dry_run
from opensora.dag.explain import explain_jobs
from opensora.datasets.stored import LatentDataset
from opensora.media.encode import write_video
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest
from tests.tiny_encoders import save_t5, save_vae
from tests.workflow.test_entries import REPOSITORY, configure, snakemake


def draw_caption(seed: int, epoch: int, clip: str, number: int) -> int:
    return take_turns(number, epoch, seed=seed, what="caption", identity=clip)


NUM_VIDEOS, SEED = 8, 42
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# all of one film have two good captions, but: a bad second one; one alone; a spare third; none
ODD = {1: ["a box falls", "photo.jpg"], 2: ["one line"], 3: ["a", "b", "c"], 4: ["photo.jpg"]}


def captions_of(number: int) -> list[str]:
    return ODD.get(number, [f"box {number} slides", f"box {number} turns slowly"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training on embeddings."""
    folder = tmp_path_factory.mktemp("several")
    rng = np.random.default_rng(0)
    (folder / "videos").mkdir()
    for k in range(NUM_VIDEOS):
        path = folder / f"videos/{k}.mp4"
        write_video(path, rng.integers(0, 256, (12, 32, 32, 3), np.uint8), 8)
        if k % 2:
            path.with_suffix(".json").write_text(json.dumps({"captions": captions_of(k)}))
        else:
            path.with_suffix(".txt").write_text("\n".join(captions_of(k)) + "\n")
    save_vae(folder / "vae")
    save_t5(folder / "t5")
    models = {"vae": "./vae", "text_encoder": "./t5", "clip": "org/clip"}
    configure(
        folder,
        videos=["videos"],
        scenes={"detector": "none"},
        clips={"min_s": 1.0, "max_s": 2.0, "fps": 8, "short_side": 32},
        scorers=["technical"],
        captions={"per_clip": 2},
        validation_fraction=0.0,
        models={name: {"from_pretrained": where} for name, where in models.items()},
        encode={"vae_stride": [1, 4, 4], "dtype": "fp32", "posterior": "mean", "min_psnr": 0},
    )
    snakemake(folder, "train_all", timeout=550)  # of 18 jobs
    return folder


def test_tables_count_captions_and_clips_apart(run: Path) -> None:
    results = run / "results/test"
    manifest = read_manifest(results / "manifest")
    counts = {
        int(Path(source).stem): count
        for source, count in zip(manifest["source"], manifest["num_captions"], strict=True)
    }
    assert counts == {0: 2, 1: 1, 2: 1, 3: 2, 5: 2, 6: 2, 7: 2}
    funnel = json.loads((results / "funnel.json").read_text())
    assert funnel["captions"] == {
        **{"rows_in": 14, "rows_kept": 12},
        "reasons": {"empty_caption": 2},
    }
    rejected = read_table(results / "rejected.csv")
    assert rejected[["stage", "reason"]].to_numpy().tolist() == [["caption_clips", "empty_caption"]]
    assert Path(rejected["path"][0]).suffix == ".mp4"
    logs = [path.read_text() for path in (run / "logs/caption_clips/test").glob("[0-9]*.log")]
    spare = "; 1 captions are spare: the first 2 of a span count"
    assert sum(spare in log for log in logs) == 1
    assert not any("; 2 captions are spare" in log for log in logs)
    assert (results / "train/stage1/ema.safetensors").is_file()


def test_each_batch_holds_the_embedding_of_the_caption_that_is_drawn(run: Path) -> None:
    results = run / "results/test"
    manifest = read_manifest(results / "manifest").set_index("id")
    dataset = LatentDataset(
        results / "latents/stage1",
        results / "embeddings",
        results / "buckets/stage1/settled.parquet",
        seed=SEED,
    )
    encoder = {"type": "t5", "from_pretrained": str(run / "t5"), "dtype": "fp32", "device": "cpu"}
    t5 = build_module(encoder, MODELS)
    seen = defaultdict(set)
    for position in range(len(dataset)):
        epoch, _, ids = dataset.plan[position]
        batch = dataset[position]
        for row, name in enumerate(ids):
            number = int(Path(manifest["source"][name]).stem)
            texts = captions_of(number)[: manifest["num_captions"][name]]
            text = texts[draw_caption(SEED, epoch, name, len(texts))]
            length = len(text.encode()) + 1  # of bytes
            assert int(batch["mask"][row].sum()) == length
            expected = t5.encode([text])["y"][0, 0, :length]
            torch.testing.assert_close(batch["y"][row, 0, :length], expected)
            seen[number].add(text)
    assert any(len(texts) == 2 for texts in seen.values())


def test_nothing_runs_again_and_another_number_is_explained(run: Path) -> None:
    assert "Nothing to be done" in snakemake(run, "train_all")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["captions"]["per_clip"] = 1
    (run / "one.yaml").write_text(yaml.safe_dump(config))
    jobs = dry_run(
        run / "one.yaml", target="train_all", snakefile=REPOSITORY / "Snakefile", folder=run
    )
    found = {entry.rule: entry.why for entry in explain_jobs(jobs, run)}
    assert next(iter(found)) == "caption_clips"
    assert found["caption_clips"].startswith("settings changed: per_clip 2 -> ")
