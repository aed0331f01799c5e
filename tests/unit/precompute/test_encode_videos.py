import itertools
import re
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.core.errors import ConfigError, StoreError
from opensora.core.io import sha256_file
from opensora.media.frames import read_clip
from opensora.plans.compile import BatchPlan, write_plan
from opensora.precompute.video_encoding import VideoEncoding
from opensora.stores.index import read_index
from opensora.stores.latents import LatentStore

from .encoding import contents, encode
from .patch_autoencoder import PatchAutoencoder

VIDEO, IMAGE = Bucket("24px", 4, "1.00"), Bucket("24px", 1, "1.00")


def test_latents_are_the_encoder_s_and_carry_its_identity(world, tmp_path):
    counts = encode(world, tmp_path, PatchAutoencoder())
    assert counts == {"clips": 8, "files": 2, "encoded": 8, "found": 0, "rejected": 0}
    store = LatentStore(tmp_path / "run/latents")
    for row in world.manifest.itertuples():
        bucket = IMAGE if row.num_frames == 1 else VIDEO
        wanted = PatchAutoencoder().encode(
            read_clip(row.path, bucket.num_frames, bucket.size, 1)[None],
            generator=None,
            posterior="mean",
        )[0]
        assert torch.equal(store.get(row.id, bucket), wanted)
    assert store.identity["type"] == "patch"
    assert (store.identity["dtype"], store.identity["posterior"]) == ("fp32", "mean")
    assert "seed" not in store.identity  # the mean draws nothing


def test_the_model_is_told_120_frames_a_second_for_images(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder())
    fps = LatentStore(tmp_path / "run/latents").rows.set_index("id")["fps"]
    assert fps["c0"] == 8.0
    assert fps["c6"] == 120.0


def test_a_frame_interval_of_the_plan_changes_frames_and_rate(world, tmp_path):
    plan = pd.DataFrame({"epoch": [0], "bucket": ["24px|2|1.00"]})
    plan["ids"] = [["c1"]]
    plan.attrs = {"hash": "h"}
    write_plan(plan, tmp_path / "plan.parquet", frame_interval=4)
    bucket = Bucket("24px", 2, "1.00")
    plans = {"latents": BatchPlan(tmp_path / "plan.parquet")}
    encode(world, tmp_path, PatchAutoencoder(), plans=plans)
    store = LatentStore(tmp_path / "run/latents")
    assert store.rows["fps"].tolist() == [2.0]
    clip = read_clip(
        world.manifest.set_index("id").loc["c1", "path"], bucket.num_frames, bucket.size, 4
    )
    assert torch.equal(PatchAutoencoder().decode(store.get("c1", bucket)[None])[0], clip)


@pytest.mark.parametrize("posterior", ["mean", "sample"])
def test_shards_and_batch_sizes_do_not_change_the_latents(world, tmp_path, posterior):
    settings = {"dtype": "fp32", "posterior": posterior}
    whole = VideoEncoding(**settings, batch_size=16)
    encode(world, tmp_path / "whole", PatchAutoencoder(0.1), whole)
    few = VideoEncoding(**settings, batch_size=4)
    for shard in range(3):
        encode(world, tmp_path / "parts", PatchAutoencoder(0.1), few, shard=shard, num_shards=3)
    one, many = (LatentStore(tmp_path / name / "run/latents") for name in ("whole", "parts"))
    assert set(one.rows["id"]) == set(many.rows["id"])
    for row in one.rows.itertuples():
        bucket = Bucket.parse(row.bucket)
        assert torch.equal(one.get(row.id, bucket), many.get(row.id, bucket))


def test_a_draw_depends_on_seed_and_clip(world, tmp_path):
    names = {"a": 1, "b": 1, "c": 2}
    for name, seed in names.items():
        encoding = VideoEncoding(dtype="fp32", posterior="sample", seed=seed)
        encode(world, tmp_path / name, PatchAutoencoder(0.1), encoding)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")  # byte by byte
    a, c = (LatentStore(tmp_path / name / "run/latents").get("c0", VIDEO) for name in "ac")
    assert not torch.equal(a, c)
    mean = PatchAutoencoder().encode(
        read_clip(world.manifest["path"][0], VIDEO.num_frames, VIDEO.size, 1)[None],
        generator=None,
        posterior="mean",
    )[0]
    noise = (a - mean) / 0.1
    assert float(noise.std()) == pytest.approx(1.0, abs=0.05)


DRAWN = VideoEncoding(dtype="fp32", posterior="sample")


@pytest.mark.parametrize("hashed", [True, False])
def test_noise_follows_from_the_content_and_not_from_the_name(world, tmp_path, hashed):
    names = {f"c{k}": f"renamed-{7 - k}" for k in range(8)}
    hashes = [sha256_file(path) if hashed else None for path in world.manifest["path"]]
    before = world.manifest.assign(sha256=hashes)
    after = before.assign(
        id=before["id"].map(names),
        path=[shutil.copy(path, tmp_path / f"{k}.mp4") for k, path in enumerate(before["path"])],
    )
    renamed = world.plan.table.to_pandas()
    renamed["ids"] = [[names[name] for name in ids] for ids in renamed["ids"]]
    renamed.attrs = {"hash": "renamed"}
    write_plan(renamed, tmp_path / "plan.parquet", frame_interval=1)
    plans = {"before": world.plan, "after": BatchPlan(tmp_path / "plan.parquet")}
    for name, manifest in {"before": before, "after": after}.items():
        plan = {"latents": plans[name]}
        folder = tmp_path / name  # each with a store of its own
        encode(world, folder, PatchAutoencoder(0.1), DRAWN, manifest=manifest, plans=plan)
    one, other = (LatentStore(tmp_path / name / "run/latents") for name in plans)
    noises = []
    for row in one.rows.itertuples():
        bucket = Bucket.parse(row.bucket)
        drawn = one.get(row.id, bucket)
        assert other.get(names[row.id], bucket).numpy().tobytes() == drawn.numpy().tobytes()
        path = before.set_index("id").loc[row.id, "path"]
        clip = read_clip(path, bucket.num_frames, bucket.size, 1)[None]
        mean = PatchAutoencoder().encode(clip, generator=None, posterior="mean")[0]
        noises.append((drawn - mean)[:, :1])
    for one_noise, other_noise in itertools.combinations(noises, 2):
        assert not torch.allclose(one_noise, other_noise, atol=1e-3)


def test_an_empty_shard_is_a_valid_empty_index(world, tmp_path):
    counts = [
        encode(world, tmp_path, PatchAutoencoder(), shard=shard, num_shards=24)["clips"]
        for shard in range(24)
    ]
    assert sum(counts) == 8
    empty = tmp_path / f"run/latents/{counts.index(0):04d}.parquet"
    assert len(LatentStore(empty)) == 0
    full = tmp_path / f"run/latents/{counts.index(max(counts)):04d}.parquet"
    assert pq.read_schema(empty).remove_metadata() == pq.read_schema(full).remove_metadata()
    assert len(LatentStore(tmp_path / "run/latents")) == 8


class Broken(PatchAutoencoder):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def encode(self, x, *, generator, posterior):
        z = super().encode(x, generator=generator, posterior=posterior)
        if self.how == "nan":
            z[:, 0, 0, 0, 0] = float("nan")
        return z * 0 + 0.3 if self.how == "flat" else z

    def decode(self, z):
        return super().decode(z) * (0 if self.how == "dark" else 1)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "2 NaN or infinite values"),
        ("flat", "is flat"),
        ("dark", r"decodes at .* dB, below"),
    ],
)
def test_the_gate_stops_useless_latents_with_one_sentence(world, tmp_path, how, message):
    vae = Broken(how)
    with pytest.raises(StoreError, match=message) as caught:
        encode(world, tmp_path, vae)
    assert "\n" not in str(caught.value)
    assert str(IMAGE) in str(caught.value)
    assert vae.calls == [16]  # the second bucket was not even begun
    assert not (tmp_path / "run").exists()  # no index
    vae.calls.clear()
    with pytest.raises(StoreError, match=message):
        encode(world, tmp_path, vae)
    assert vae.calls == []  # nor is anything encoded to fail again


class KnowsNoPictures(PatchAutoencoder):
    def decode(self, z):
        return super().decode(z) * (z.shape[2] > 1)


def test_a_vae_of_the_run_may_fail_on_a_few_odd_clips(world, tmp_path):
    encode(world, tmp_path, KnowsNoPictures(), learned_from=6)
    warnings = read_index(tmp_path / "run/latents/0000.parquet")[1]["gate"]["warnings"]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"bucket {IMAGE} decodes at ")
    assert "its 2 clips show what this VAE has not learned" in warnings[0]
    with pytest.raises(StoreError, match=f"{re.escape(str(IMAGE))} decodes at .*; check the VAE"):
        encode(world, tmp_path, KnowsNoPictures(), run="with weights of others")


def test_a_vae_of_the_run_that_learned_nothing_stops_it(world, tmp_path):
    with pytest.raises(StoreError, match="min_psnr: 0"):
        encode(world, tmp_path, Broken("dark"), learned_from=6)
    assert not (tmp_path / "run").exists()


def test_the_gate_measures_what_was_stored(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder())
    gate = read_index(tmp_path / "run/latents/0000.parquet")[1]["gate"]
    facts = gate["buckets"][str(VIDEO)]
    store = LatentStore(tmp_path / "run/latents")
    values = torch.stack([store.get(f"c{k}", VIDEO) for k in range(6)]).transpose(0, 1).flatten(1)
    np.testing.assert_allclose(facts["mean"], values.mean(1), atol=1e-5)
    np.testing.assert_allclose(facts["std"], values.std(1, correction=0), atol=1e-5)
    assert facts["items"] == 6
    assert len(facts["psnr"]) == 4
    assert min(facts["psnr"]) > 60  # nothing is lost
    assert gate["warnings"] == []


class ShortOfMemory(PatchAutoencoder):
    def encode(self, x, *, generator, posterior):
        if self.micro_batch_size > 3:
            raise torch.OutOfMemoryError
        return super().encode(x, generator=generator, posterior=posterior)


def test_short_memory_halves_the_frames_per_call_and_goes_on(world, tmp_path, caplog):
    vae = ShortOfMemory()
    encode(world, tmp_path, vae)
    assert vae.micro_batch_size == 2  # 16, 8, 4, 2
    assert caplog.text.count("out of memory") == 2 * 3  # each of the two files begins at 16
    assert len(LatentStore(tmp_path / "run/latents")) == 8


def test_a_bucket_smaller_than_one_latent_value_is_named(world, tmp_path):
    class Coarse(PatchAutoencoder):
        patch_size = (1, 32, 32)

        def get_latent_size(self, size):
            return size[0], size[1] // 32, size[2] // 32

    with pytest.raises(ConfigError, match=r"24px\|1\|1\.00 \(24x24 pixels\) is smaller than one"):
        encode(world, tmp_path, Coarse())


def test_a_batch_always_has_as_many_clips(world, tmp_path):
    vae = PatchAutoencoder()
    encoding = VideoEncoding(dtype="fp32", posterior="mean", batch_size=16)
    encode(world, tmp_path, vae, encoding)
    # 2 images and 6 clips of 4 frames, 16 frames a batch; the last batch is filled up
    assert vae.calls == [16, 4, 4]


def test_moments_take_twice_the_channels_and_say_so(world, tmp_path):
    encoding = VideoEncoding(dtype="fp32", posterior="moments")
    encode(world, tmp_path, PatchAutoencoder(0.1), encoding)
    store = LatentStore(tmp_path / "run/latents")
    assert store.identity["posterior"] == "moments"
    assert "seed" not in store.identity  # nothing was drawn yet
    mean, deviation = store.get("c0", VIDEO).chunk(2)
    assert torch.equal(deviation, torch.full_like(mean, 0.1))
    clip = read_clip(world.manifest["path"][0], VIDEO.num_frames, VIDEO.size, 1)[None]
    assert torch.equal(PatchAutoencoder().decode(mean[None]), clip)
