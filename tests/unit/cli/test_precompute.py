"""assign-buckets, encode-videos and encode-captions from the command line, with tiny networks."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.cli.main import main
from opensora.core.io import sha256_file, write_json
from opensora.core.seed import derive_seed
from opensora.datasets.stored import LatentDataset
from opensora.media.encode import write_video
from opensora.models.vae import sample_moments
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.latents import LatentStore
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table
from opensora.tables.manifest import read_manifest
from tests.tiny_encoders import save_t5, save_vae

CONFIG = 'bucket_config = {"24px": {4: (1.0, 2), 1: (1.0, 1)}}\nepochs = 2\nseed = 5\n'


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Five clips, an image and a validation clip; a VAE and a byte-level T5 of random weights."""
    folder = tmp_path_factory.mktemp("precompute")
    (folder / "config.py").write_text(CONFIG)
    rows = []
    for k in range(7):
        frames = np.full((1 if k == 5 else 4, 32, 32, 3), 30 * k, np.uint8)
        frames[:, 8:20, 4 + k : 16 + k] = 255
        write_video(folder / f"{k}.mp4", frames, 8)
        path = folder / f"{k}.mp4"
        row = {"id": f"c{k}", "path": str(path), "text": f"box {k % 2}", "num_frames": len(frames)}
        rows.append({**row, "sha256": sha256_file(path)})
    manifest = pd.DataFrame(rows).assign(
        width=32, height=32, aspect_ratio=1.0, resolution=1024, text_len=2, fps=8.0, source="s",
        start=0.0, end=0.5, split=["train"] * 6 + ["validation"],
    )  # fmt: skip
    write_table(manifest, folder / "manifest.csv", MANIFEST)
    save_vae(folder / "vae")
    save_t5(folder / "t5")
    return folder


def assign(inputs, out, *more: str) -> int:
    words = ["assign-buckets", str(inputs / "config.py"), "--data-path", f"{inputs}/manifest.csv"]
    words += ["--plan", f"{out}/plan.parquet", "--items", f"{out}/items"]
    return main([*words, "--summary", f"{out}/summary.json", *more])


def encode(inputs, out, *more: str, shard: int = 0) -> int:
    words = [
        "encode-videos",
        "--items",
        f"{out}/items/{shard:04d}.parquet",
        "--vae",
        f"{inputs}/vae",
    ]
    words += ["--store", f"{out}/store", "--output", f"{out}/latents/{shard:04d}.parquet"]
    return main([*words, "--dtype", "fp32", "--device", "cpu", *more])


def encode_texts(inputs, out, *more: str) -> int:
    words = ["encode-captions", "--manifest", f"{inputs}/manifest.csv", "--max-length", "16"]
    words += ["--text-encoder", f"{inputs}/t5", "--store", f"{out}/texts"]
    return main([*words, "--output", f"{out}/embeddings/0000.parquet", "--device", "cpu", *more])


def test_from_manifest_to_training_batches(inputs, tmp_path, capsys):
    assert assign(inputs, tmp_path, "--vae-stride", "1", "4", "4") == 0
    assert "5 of 6 clips in 2 buckets, 6 steps over 2 epochs" in capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["dropped"] == {"remainder": 1}  # five clips make two batches of two
    assert summary["token_size"] == [1, 8, 8]

    assert encode(inputs, tmp_path, "--posterior", "mean", "--min-psnr", "0") == 0
    assert encode_texts(inputs, tmp_path) == 0
    assert "2 different captions of 7 clips" in capsys.readouterr().out

    dataset = LatentDataset(
        tmp_path / "latents", tmp_path / "embeddings", tmp_path / "plan.parquet"
    )
    batches = [dataset[position] for position in range(len(dataset))]
    shapes = sorted(tuple(batch["latents"].shape) for batch in batches)
    assert shapes == [(1, 4, 1, 6, 6)] * 2 + [(2, 4, 4, 6, 6)] * 4  # 24 px / stride 4
    assert all(batch["mask"].sum() == 6 * len(batch["ids"]) for batch in batches)  # "box 0" + end
    assert "c6" not in {name for batch in batches for name in batch["ids"]}


def test_held_out_clips_are_stored_with_the_others_and_read_by_their_own_plan(inputs, tmp_path):
    held_out = ["--validation", f"{tmp_path}/validation.parquet"]
    assert assign(inputs, tmp_path, *held_out) == 0
    assert encode(inputs, tmp_path, "--min-psnr", "0") == 0
    assert encode_texts(inputs, tmp_path) == 0
    stores = tmp_path / "latents", tmp_path / "embeddings"
    validation = LatentDataset(*stores, tmp_path / "validation.parquet")
    assert [batch["ids"] for batch in map(validation.__getitem__, range(len(validation)))] == [
        ["c6"]
    ]
    assert validation[0]["latents"].shape == (1, 4, 4, 6, 6)
    assert validation[0]["mask"].sum() == 6
    training = LatentDataset(*stores, tmp_path / "plan.parquet")
    assert "c6" not in {name for k in range(len(training)) for name in training[k]["ids"]}
    # the latents of the others are what they are without it
    assert assign(inputs, tmp_path / "alone") == 0
    assert encode(inputs, tmp_path / "alone", "--min-psnr", "0") == 0
    alone, both = latents_of(tmp_path / "alone/latents"), latents_of(tmp_path / "latents")
    assert len(both) == len(alone) + 1
    assert all(torch.equal(both[key], alone[key]) for key in alone)


def test_a_second_run_encodes_nothing_and_another_stage_what_is_new(inputs, tmp_path, capsys):
    assert assign(inputs, tmp_path) == 0
    assert encode(inputs, tmp_path, "--min-psnr", "0") == 0
    assert "6 clips in 2 files: 6 encoded, 0 found -> " in capsys.readouterr().out
    assert encode(inputs, tmp_path, "--min-psnr", "0") == 0
    assert "6 clips in 2 files: 0 encoded, 6 found -> " in capsys.readouterr().out
    frames = ["--bucket_config.24px.4", "(0, None)", "--bucket_config.24px.2", "(1.0, 2)"]
    second = tmp_path / "stage2"
    assert assign(inputs, second, "--frame-interval", "2", *frames) == 0
    words = ["encode-videos", "--vae", f"{inputs}/vae", "--store", f"{tmp_path}/store"]
    words += ["--items", f"{tmp_path}/items/0000.parquet", f"{second}/items/0000.parquet"]
    words += ["--output", f"{tmp_path}/latents/0000.parquet", f"{second}/latents/0000.parquet"]
    words += ["--dtype", "fp32", "--device", "cpu", "--min-psnr", "0"]
    assert main(words) == 0
    assert "11 clips in 3 files: 5 encoded, 6 found -> " in capsys.readouterr().out
    rows = LatentStore(second / "latents").rows.set_index(["id", "bucket"])
    assert rows.loc[("c0", "24px|2|1.00"), "fps"] == 4.0
    assert main([*words[:-4], "--output", f"{tmp_path}/one.parquet"]) == 2
    assert "2 tables of --items and 1 different --output" in capsys.readouterr().err


def test_captions_are_split_by_a_column_or_by_their_clips(inputs, tmp_path, capsys):
    manifest = read_manifest(inputs / "manifest.csv").assign(shard=[0, 0, 0, 0, 0, 1, 1])
    (tmp_path / "manifest").mkdir()
    write_table(manifest.iloc[:5], tmp_path / "manifest/0000.parquet")
    write_table(manifest.iloc[5:], tmp_path / "manifest/0001.parquet")
    words = ["--manifest", f"{tmp_path}/manifest", "--num-shards", "2"]
    counts = []
    for shard in range(2):
        output = f"{tmp_path}/embeddings/{shard:04d}.parquet"
        more = [*words, "--shard", str(shard), "--output", output]
        assert encode_texts(inputs, tmp_path, *more) == 0
        counts.append(capsys.readouterr().out.split(": ")[1])
    assert counts == ["2 different captions of 5 clips", "2 different captions of 2 clips"]
    assert len(EmbeddingStore(tmp_path / "embeddings")) == 7
    assert encode_texts(inputs, tmp_path, "--manifest", str(inputs / "vae")) == 2
    assert "no partition of a table in it; expected 0000.parquet" in capsys.readouterr().err
    assert encode_texts(inputs, tmp_path, *words[:2]) == 0  # one job for all
    assert "of 7 clips" in capsys.readouterr().out
    assert encode_texts(inputs, tmp_path, *words[:3], "3", "--shard", "2") == 2
    assert "no partition of shard 2 in it" in capsys.readouterr().err


@pytest.mark.parametrize("command", [encode, encode_texts])
def test_a_run_that_finds_everything_loads_no_torch(inputs, tmp_path, command, monkeypatch):
    assert assign(inputs, tmp_path) == 0
    words = ["--min-psnr", "0"] if command is encode else []
    assert command(inputs, tmp_path, *words) == 0
    asked: list[list[str]] = []
    monkeypatch.setattr(f"{__name__}.main", lambda words: asked.append(words) or 0)
    command(inputs, tmp_path, *words)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "opensora.cli.main", *asked[0]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert ", 6 found" in done.stdout or ", 2 found" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "opensora.stores.catalogue" in loaded
    assert not loaded & {"torch", "diffusers", "transformers", "av", "cv2"}


def test_equal_runs_write_equal_bytes(inputs, tmp_path):
    for name in "ab":
        assert assign(inputs, tmp_path / name) == 0
        assert encode(inputs, tmp_path / name, "--min-psnr", "0", "--seed", "3") == 0
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    # plan, summary, items, index, identity; of two buckets latents, index, facts and a picture
    assert len(files) == 5 + 2 * 4
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_vae_of_random_weights_fails_the_gate(inputs, tmp_path, capsys):
    assert assign(inputs, tmp_path) == 0
    assert encode(inputs, tmp_path) == 2
    message = capsys.readouterr().err
    assert "below 15 dB; check the VAE" in message
    assert "Traceback" not in message


def test_a_vae_that_a_run_trained_on_less_is_trained_again(inputs, tmp_path, capsys):
    vae = shutil.copytree(inputs / "vae", tmp_path / "vae")
    write_json(vae / "psnr.json", {"trained_on": {"clips": 2, "listing": "ab"}})
    assert assign(inputs, tmp_path) == 0
    assert encode(inputs, tmp_path, "--vae", str(vae)) == 2
    message = capsys.readouterr().err
    assert "learned from 2 clips" in message
    assert "--forcerun train_vae" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bucket_config.24px.4", "(1.0, 64)", "--bucket_config.24px.1", "(0, None)"], "holds 5"),
        (["--bukcet_config", "{}"], "did you mean 'bucket_config'"),
        (["--world-size", "0"], "at least 1"),
        (["--world-size", "16"], "6 micro batches in 2 epochs are fewer than the 16 ranks"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(inputs, tmp_path, capsys, options, message):
    assert assign(inputs, tmp_path, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("opensora assign-buckets: ")
    assert message in error
    assert not (tmp_path / "plan.parquet").exists()


@pytest.mark.parametrize("command", [encode, encode_texts])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "2", "--num-shards", "2"], "0 <= shard < num-shards"),
        (["--store", "/dev/null/store"], "could not be written"),
        (["--device", "cuda:77"], "this machine shows"),
        (["--device", "tpu"], "expected cpu, cuda or cuda:1"),
    ],
)
def test_a_shard_or_a_device_that_is_not_there_is_refused(
    inputs, tmp_path, capsys, command, options, message
):
    assert assign(inputs, tmp_path) == 0
    assert command(inputs, tmp_path, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("opensora encode-")
    assert message in error


def latents_of(folder):
    store = LatentStore(folder)
    return {
        (row.id, row.bucket): store.get(row.id, Bucket.parse(row.bucket))
        for row in store.rows.itertuples()
    }


@pytest.mark.parametrize("posterior", ["sample", "mean", "moments"])
def test_a_clip_has_the_same_latent_to_the_last_bit_in_every_shard(inputs, tmp_path, posterior):
    options = ["--posterior", posterior, "--min-psnr", "0", "--seed", "7"]
    assert assign(inputs, tmp_path / "one") == 0
    assert assign(inputs, tmp_path / "three", "--num-shards", "3") == 0
    assert encode(inputs, tmp_path / "one", *options) == 0
    for shard in range(3):
        more = ["--shard", str(shard), "--num-shards", "3"]
        assert encode(inputs, tmp_path / "three", *options, *more, shard=shard) == 0
    one, three = (latents_of(tmp_path / name / "latents") for name in ("one", "three"))
    assert one.keys() == three.keys()
    assert all(torch.equal(one[key], three[key]) for key in one)
    assert {len(latent) for latent in one.values()} == {8 if posterior == "moments" else 4}


def test_a_batch_and_single_clips_give_latents_that_differ_by_rounding_alone(inputs, tmp_path):
    for name, size in (("single", "1"), ("batch", "16")):
        assert assign(inputs, tmp_path / name) == 0
        assert encode(inputs, tmp_path / name, "--min-psnr", "0", "--batch-size", size) == 0
    single, batch = (latents_of(tmp_path / name / "latents") for name in ("single", "batch"))
    for key, latent in single.items():
        torch.testing.assert_close(batch[key], latent, atol=1e-5, rtol=1e-5)


def test_moments_drawn_with_the_seed_of_sample_are_its_latents(inputs, tmp_path):
    for posterior in ("sample", "moments"):
        assert assign(inputs, tmp_path / posterior) == 0
        options = ["--posterior", posterior, "--min-psnr", "0", "--seed", "7"]
        assert encode(inputs, tmp_path / posterior, *options) == 0
    drawn, moments = (latents_of(tmp_path / name / "latents") for name in ("sample", "moments"))
    for (name, bucket), latent in drawn.items():
        content = sha256_file(inputs / f"{name[1:]}.mp4")
        generator = torch.Generator().manual_seed(derive_seed(7, "posterior", content))
        again = sample_moments(moments[name, bucket][None], [generator])[0]
        torch.testing.assert_close(again, latent)


def test_int8_captions_say_what_they_lose_and_train(inputs, tmp_path, capsys):
    assert assign(inputs, tmp_path) == 0
    assert encode(inputs, tmp_path, "--min-psnr", "0") == 0
    assert encode_texts(inputs, tmp_path / "exact", "--dtype", "fp32") == 0
    assert encode_texts(inputs, tmp_path, "--dtype", "fp32", "--int8") == 0
    line = capsys.readouterr().out.strip().splitlines()[-1]
    percent = float(re.search(r"int8 error ([\d.]+)% \(worst token [\d.]+%\)", line)[1])
    exact, rounded = (
        LatentDataset(tmp_path / "latents", folder / "embeddings", tmp_path / "plan.parquet")
        for folder in (tmp_path / "exact", tmp_path)
    )
    texts = [torch.cat([d[k]["y"] for k in range(len(d)) if len(d[k]["ids"]) == 2]).double()
             for d in (exact, rounded)]  # fmt: skip
    lost = float((texts[1] - texts[0]).norm() / texts[0].norm())
    assert 100 * lost == pytest.approx(percent, rel=0.5)
    assert percent < 2
    assert rounded.embedding_identity == {**exact.embedding_identity, "int8": True}
