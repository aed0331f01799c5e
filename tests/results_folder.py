"""A folder of results as the workflow leaves it: two runs of two videos, which share a store.

Made by the commands themselves, with encoders of a few thousand weights. Both runs hold the six
clips of `sun.mp4` and `rain.mp4`; run `two` has another split of them into shards.
"""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from opensora.cli.main import main
from opensora.media.encode import write_video
from opensora.stores.rows import RowStore
from opensora.tables.columns import CAPTIONS, MANIFEST, REJECTED, SCORES
from opensora.tables.io import read_table, write_table

FRAMES, SIDE, FPS = 24, 32, 8
# texts of the clips of each video: "a field" is of both
TEXTS = {
    "sun": ["the sun rises", "a field", "the sun rises"],
    "rain": ["a field", "rain falls", "a field in the rain"],
}
REPORT = ("report/index.html", "report/index_files/data/curation.js")
BUCKETS = 'bucket_config = {"24px": {4: (1.0, 2)}}\nepochs = 2\n'


def run_command(*words: object) -> None:
    assert main(list(map(str, words))) == 0, words


def make_results(folder: Path, encoders: Path) -> Path:
    """Make `results` in a folder.

    Args:
        folder: where the videos lie as well.
        encoders: folder of `vae` and `t5`.
    """
    (folder / "videos").mkdir(parents=True)
    for seed, name in enumerate(TEXTS):
        _write_video(folder / f"videos/{name}.mp4", seed)
    results = folder / "results"
    make_run(results, "one", encoders, num_shards=1)
    make_run(results, "two", encoders, num_shards=2)
    return results


def make_run(results: Path, name: str, encoders: Path, *, num_shards: int) -> None:
    """Curate the videos and encode their clips; then what training and report leave."""
    run, videos = results / name, results.parent / "videos"
    first = "0000.parquet"
    run_command("ingest-videos", videos, "--output", run / "ingest" / first)
    words = ["--videos", run / "ingest" / first, "--output", run / "scenes" / first]
    run_command("detect-scenes", "--detector", "none", *words)
    words = ["--scenes", run / "scenes" / first, "--output", run / "clips" / first]
    words += ["--store", results / "store/clips", "--min-s", 0.5, "--max-s", 1]
    run_command("split-clips", *words)
    _write_tables(results, run, num_shards)
    (run / "stage1.py").write_text(BUCKETS)
    items = run / "buckets/stage1"
    words = ["--plan", items / "settled.parquet", "--items", items, "--num-shards", num_shards]
    run_command("assign-buckets", run / "stage1.py", "--data-path", run / "manifest", *words)
    for shard in range(num_shards):
        encode_shard(results, run, encoders, shard, num_shards)
    for path in ("train/stage1/model.safetensors", "models/vae/config.json", *REPORT):
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        (run / path).write_text("made by the run")
    (run / "config.yaml").write_text(
        f"layout: 2\nrun: {name}\nnum_shards: 1\nstages:\n- name: stage1\n- name: stage2\n"
    )


def encode_shard(results: Path, run: Path, encoders: Path, shard: int, num_shards: int) -> None:
    """What encode_videos and encode_captions do for one shard."""
    table, shards = f"{shard:04d}.parquet", ["--shard", shard, "--num-shards", num_shards]
    words = ["--items", run / "buckets/stage1" / table, "--vae", encoders / "vae"]
    words += ["--store", results / "store/latents", "--output", run / "latents/stage1" / table]
    run_command("encode-videos", *words, *shards, "--min-psnr", 0, "--device", "cpu")
    words = ["--manifest", run / "manifest", "--text-encoder", encoders / "t5"]
    words += ["--store", results / "store/embeddings", "--output", run / "embeddings" / table]
    run_command("encode-captions", *words, *shards, "--max-length", 20, "--device", "cpu")


def age(folder: Path, *, hours: float) -> None:
    """Let all files of a folder, or one file, be so old."""
    then = time.time() - 3600 * hours
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then), follow_symlinks=False)


def clips_of(run: Path) -> pd.DataFrame:
    return read_table(run / "clips/0000.parquet")


def _write_video(path: Path, seed: int) -> None:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    t = np.arange(FRAMES)[:, None, None] / 7
    value = 0.5 + 0.4 * np.sin((3 + seed) * x + 2 * y + t + seed)
    pixels = np.stack([value, value[..., ::-1], 1 - value], axis=-1)
    write_video(path, (pixels * 255).astype(np.uint8), FPS)


def _write_tables(results: Path, run: Path, num_shards: int) -> None:
    """Captions, scores, manifest and rejects, as the workflow's commands write them."""
    clips = clips_of(run)
    texts = [text for name in clips["source"].map(_stem).unique() for text in TEXTS[name]]
    clips = clips.assign(text=texts, text_len=3, split="train")
    captions = clips[["id", "text", "text_len", "status", "detail"]].assign(caption=texts)
    write_table(captions, run / "captions/0000.parquet", CAPTIONS)
    scores = clips[["id", "status", "detail"]].assign(sharpness=1.0)
    write_table(scores, run / "scores/technical/0000.parquet", SCORES)
    store = RowStore(results / "store/scores/technical-1-x", "0000")
    for content in clips["sha256"]:
        store.put(content, {"sharpness": 1.0})
    store.save()
    replies = RowStore(results / "store/captions/openai-4-x", "0000")
    for content in clips["sha256"]:
        replies.put(content, {"text": "of a server"})
    replies.save()
    manifest = clips[list(MANIFEST.columns)]
    for shard in range(num_shards):
        rows = manifest.iloc[shard::num_shards]
        write_table(rows, run / f"manifest/{shard:04d}.parquet", MANIFEST)
    write_table(manifest, run / "manifest.csv", MANIFEST)
    rejected = clips[["id", "path"]].iloc[[0, 5]].assign(stage="x", reason="corrupt", detail="z")
    write_table(rejected, run / "rejected.csv", REJECTED)


def _stem(path: str) -> str:
    return Path(path).stem


def read_everything(run: Path, *, encoders: Path) -> int:
    """Plan the manifest that is there, find its clips in the store, read all batches of training.

    Returns:
        Clips read in the first epoch.
    """
    from opensora.datasets.stored import LatentDataset

    results, items = run.parent, run / "buckets/stage1"
    number = len(list((run / "manifest").glob("*.parquet")))
    words = ["--plan", items / "again.parquet", "--items", items, "--num-shards", number]
    run_command("assign-buckets", run / "stage1.py", "--data-path", run / "manifest", *words)
    before = set((results / "store").rglob("*.safetensors"))
    for shard in range(number):
        encode_shard(results, run, encoders, shard, number)
    assert set((results / "store").rglob("*.safetensors")) == before, "something was encoded"
    folders = (run / "latents/stage1", run / "embeddings")
    data = LatentDataset(*folders, items / "again.parquet")
    batches = [data[place] for place in range(len(data))]
    assert all(batch["latents"].isfinite().all() for batch in batches)
    run_command("doctor", "--latents", folders[0], "--embeddings", folders[1])
    return len({name for batch in batches for name in batch["ids"]})
