"""What was encoded once is found again, whoever asks; only what is missing is encoded."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.media.encode import write_video
from opensora.plans.compile import BatchPlan, write_plan
from opensora.precompute.encode_videos import encode_videos
from opensora.precompute.video_encoding import VideoEncoding
from opensora.stores.index import read_index
from opensora.stores.latents import LatentStore

from .encoding import FP32, contents, data_files, encode
from .patch_autoencoder import PatchAutoencoder

VIDEO, IMAGE = Bucket("24px", 4, "1.00"), Bucket("24px", 1, "1.00")
LARGE = Bucket("32px", 4, "1.00")


def plan_of(folder, pairs: dict[Bucket, list[str]]) -> BatchPlan:
    plan = pd.DataFrame({"epoch": 0, "bucket": [str(bucket) for bucket in pairs]})
    plan["ids"] = list(pairs.values())
    plan.attrs = {"hash": "h"}
    write_plan(plan, folder / "some_plan.parquet", frame_interval=1)
    return BatchPlan(folder / "some_plan.parquet")


def add_clip(world, folder, name: str, value: float = 0.4) -> pd.DataFrame:
    """The world's manifest with one more clip."""
    y, x = np.mgrid[0:48, 0:48] / 48
    picture = value + 0.3 * np.sin(2 * x + 3 * y)
    pixels = (np.stack([picture] * 3, axis=-1) * 255).astype(np.uint8)
    write_video(folder / f"{name}.mp4", np.stack([pixels] * 6), 8)
    row = world.manifest.iloc[:1].assign(id=name, path=str(folder / f"{name}.mp4"), sha256=name)
    return pd.concat([world.manifest, row], ignore_index=True)


def with_clips(world, folder, *names: str) -> BatchPlan:
    """The world's plan with more clips of the video bucket."""
    pairs = {VIDEO: [f"c{k}" for k in range(6)] + list(names), IMAGE: ["c6", "c7"]}
    return plan_of(folder, pairs)


def test_a_second_run_finds_everything_and_loads_no_encoder(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder())
    before = contents(tmp_path)

    def load():
        raise AssertionError("nothing is missing")

    items = read_index(tmp_path / "run/latents/0000.parquet")[0]
    tables = [items.assign(path="gone.mp4", frame_interval=1)]
    counts = encode_videos(
        *(tables, [tmp_path / "run/latents/0000.parquet"], tmp_path / "store", FP32, load),
        encoder="hash of the encoder",
    )
    assert counts == {"clips": 8, "files": 2, "found": 8, "encoded": 0, "rejected": 0}
    assert contents(tmp_path) == before


def test_one_more_clip_encodes_one_clip(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder())
    vae = PatchAutoencoder()
    manifest, plan = add_clip(world, tmp_path, "new"), with_clips(world, tmp_path, "new")
    counts = encode(world, tmp_path, vae, manifest=manifest, plans={"latents": plan})
    assert (counts["found"], counts["encoded"], counts["files"]) == (8, 1, 3)
    assert vae.calls == [4]  # one batch of videos, no image
    store = LatentStore(tmp_path / "run/latents")
    assert len(store) == 9
    assert store.verify() == sum(store.at(k).nbytes for k in range(9))


def test_a_clip_that_was_renamed_or_copied_is_known(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder())
    names = {"c0": "other-name", "c1": "c1"}
    path = shutil.copy(world.manifest["path"][0], tmp_path / "copy.mp4")
    manifest = world.manifest.replace({"id": names, "path": {world.manifest["path"][0]: str(path)}})
    plan = {"latents": plan_of(tmp_path, {VIDEO: ["other-name", "c1"]})}
    vae = PatchAutoencoder()
    counts = encode(world, tmp_path, vae, manifest=manifest, plans=plan, run="renamed")
    assert (counts["found"], vae.calls) == (2, [])
    before, after = (LatentStore(tmp_path / run / "latents") for run in ("run", "renamed"))
    assert torch.equal(before.get("c0", VIDEO), after.get("other-name", VIDEO))


def test_a_clip_without_a_hash_is_hashed_and_equal_files_are_encoded_once(world, tmp_path):
    path = shutil.copy(world.manifest["path"][0], tmp_path / "copy.mp4")
    manifest = world.manifest.assign(sha256="")
    manifest.loc[1, "path"] = str(path)
    vae = PatchAutoencoder()
    counts = encode(world, tmp_path, vae, manifest=manifest)
    assert (counts["clips"], counts["encoded"]) == (7, 7)
    rows = LatentStore(tmp_path / "run/latents").rows.set_index("id")[["file", "row", "sha256"]]
    assert rows.loc["c0"].tolist() == rows.loc["c1"].tolist()
    assert encode(world, tmp_path, PatchAutoencoder(), manifest=manifest)["found"] == 7


def test_another_stage_encodes_its_new_pairs_alone(world, tmp_path):
    plans = {"stage1": world.plan}
    encode(world, tmp_path, PatchAutoencoder(), plans=plans)
    first = (tmp_path / "run/stage1/0000.parquet").read_bytes()
    vae = PatchAutoencoder()
    plans["stage2"] = plan_of(tmp_path, {VIDEO: ["c0", "c1"], LARGE: ["c2", "c3", "c0"]})
    counts = encode(world, tmp_path, vae, plans=plans)
    assert (counts["clips"], counts["found"], counts["encoded"]) == (11, 8, 3)
    assert vae.calls == [4]
    assert (tmp_path / "run/stage1/0000.parquet").read_bytes() == first
    second = LatentStore(tmp_path / "run/stage2")
    assert set(zip(second.rows["id"], second.rows["bucket"], strict=True)) == {
        *((name, str(VIDEO)) for name in ("c0", "c1")),
        *((name, str(LARGE)) for name in ("c0", "c2", "c3")),
    }
    one = LatentStore(tmp_path / "run/stage1")
    assert torch.equal(one.get("c1", VIDEO), second.get("c1", VIDEO))


def test_another_run_with_other_shards_finds_the_rows(world, tmp_path):
    for shard in range(3):
        encode(world, tmp_path, PatchAutoencoder(), shard=shard, num_shards=3)
    vae = PatchAutoencoder()
    found = [encode(world, tmp_path, vae, run="b", shard=k, num_shards=2)["found"] for k in (0, 1)]
    assert (sum(found), vae.calls) == (8, [])
    one, other = (LatentStore(tmp_path / run / "latents") for run in ("run", "b"))
    for row in one.rows.itertuples():
        bucket = Bucket.parse(row.bucket)
        assert torch.equal(one.get(row.id, bucket), other.get(row.id, bucket))


@pytest.mark.parametrize(
    "change", [{"posterior": "sample"}, {"dtype": "bf16"}, {"posterior": "moments"}]
)
def test_other_settings_have_another_address(world, tmp_path, change):
    encode(world, tmp_path, PatchAutoencoder())
    settings = {"dtype": "fp32", "posterior": "mean", **change}
    counts = encode(world, tmp_path, PatchAutoencoder(0.1), VideoEncoding(**settings))
    assert counts["encoded"] == 8


def test_another_limit_judges_again_and_encodes_nothing(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder())
    vae = PatchAutoencoder()
    strict = VideoEncoding(dtype="fp32", posterior="mean", min_psnr=121.0)  # above any PSNR
    with pytest.raises(StoreError, match=r"24px\|1\|1\.00 decodes at .* dB, below 121 dB"):
        encode(world, tmp_path, vae, strict)
    assert vae.calls == []


def test_one_black_clip_more_fails_no_bucket(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder())
    manifest, plan = add_clip(world, tmp_path, "black"), with_clips(world, tmp_path, "black")
    write_video(tmp_path / "black.mp4", np.full((6, 48, 48, 3), 128, np.uint8), 8)
    flat = {"latents": plan_of(tmp_path, {VIDEO: ["black"]})}
    with pytest.raises(StoreError, match="is flat"):
        encode(world, tmp_path / "alone", PatchAutoencoder(), manifest=manifest, plans=flat)
    plan = {"latents": with_clips(world, tmp_path, "black")}
    counts = encode(world, tmp_path, PatchAutoencoder(), manifest=manifest, plans=plan)
    assert counts["encoded"] == 1
    facts = read_index(tmp_path / "run/latents/0000.parquet")[1]["gate"]["buckets"][str(VIDEO)]
    store = LatentStore(tmp_path / "run/latents")
    names = [f"c{k}" for k in range(6)] + ["black"]
    values = torch.stack([store.get(name, VIDEO) for name in names]).transpose(0, 1).flatten(1)
    np.testing.assert_allclose(facts["std"], values.std(1, correction=0), atol=1e-5)
    assert (facts["items"], len(facts["psnr"])) == (7, 5)


def test_many_small_files_are_joined_and_the_old_ones_stay(world, tmp_path):
    manifest, names = world.manifest, []
    for k in range(17):
        manifest = add_clip(world._replace(manifest=manifest), tmp_path, f"n{k:02d}", 0.3 + k / 60)
        names.append(f"n{k:02d}")
        plan = {"latents": plan_of(tmp_path, {VIDEO: names})}
        counts = encode(world, tmp_path, PatchAutoencoder(), manifest=manifest, plans=plan)
        assert counts["files"] == (k + 1 if k < 16 else 1)
    assert len(data_files(tmp_path)) == 18
    store = LatentStore(tmp_path / "run/latents")
    assert store.rows["row"].nunique() == 17
    encode(world, tmp_path / "fresh", PatchAutoencoder(), manifest=manifest, plans=plan)
    fresh = LatentStore(tmp_path / "fresh/run/latents")
    assert all(torch.equal(store.get(x, VIDEO), fresh.get(x, VIDEO)) for x in names)
    gates = [
        read_index(folder / "run/latents/0000.parquet")[1]["gate"]["buckets"][str(VIDEO)]
        for folder in (tmp_path, tmp_path / "fresh")
    ]
    assert (gates[0]["items"], gates[0]["mean"]) == (17, gates[1]["mean"])
    assert len(gates[0]["psnr"]) == 17  # each was measured alone
    assert (tmp_path / "run/latents" / gates[0]["montage"]).is_file()
    vae = PatchAutoencoder()  # the next run prefers the joined file, and joins nothing
    assert encode(world, tmp_path, vae, manifest=manifest, plans=plan)["files"] == 1
    assert (len(data_files(tmp_path)), vae.calls) == (18, [])
