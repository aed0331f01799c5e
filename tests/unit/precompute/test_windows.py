"""Several windows of a clip in the store, and what a run reads of them."""

import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.datasets.stored import LatentDataset
from opensora.media.frames import read_clip
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.settle_plan import find_rejected, read_index
from opensora.precompute.examine import examine_latents
from opensora.precompute.video_encoding import VideoEncoding
from opensora.stores.index import read_index as read_whole_index
from opensora.stores.latents import LatentStore
from tests import tiny_stores

from .encoding import contents, data_files, encode
from .patch_autoencoder import PatchAutoencoder

VIDEO, IMAGE = Bucket("24px", 4, "1.00"), Bucket("24px", 1, "1.00")
TEXT = {"type": "t", "model_max_length": 3}


def pixels_of(world, name: str, start: int) -> torch.Tensor:
    path = world.manifest.set_index("id").loc[name, "path"]
    return read_clip(path, VIDEO.num_frames, VIDEO.size, 1, start)


def test_a_latent_is_that_of_the_frames_of_its_window(world, tmp_path):
    counts = encode(world, tmp_path, PatchAutoencoder(), windows=3)
    assert counts["clips"] == counts["encoded"] == 6 * 3 + 2  # 6 frames have 3 windows of 4
    store = LatentStore(tmp_path / "run/latents")
    assert store.has_windows
    for clip in ("c0", "c3"):
        for draw, start in enumerate((0, 1, 2)):
            latent = store.at(store.locate(clip, VIDEO, draw + 3))  # a remainder
            decoded = PatchAutoencoder().decode(latent[None])[0]
            assert torch.equal(decoded, pixels_of(world, clip, start))
    assert not torch.equal(pixels_of(world, "c0", 0), pixels_of(world, "c0", 1))
    assert store.locate("c6", IMAGE, 5) == store.locate("c6", IMAGE)


def test_one_window_is_what_was_always_stored(world, tmp_path):
    encode(world, tmp_path / "before", PatchAutoencoder())
    encode(world, tmp_path / "one", PatchAutoencoder(), windows=1)
    assert contents(tmp_path / "before") == contents(tmp_path / "one")
    rows, _ = read_whole_index(tmp_path / "one/run/latents/0000.parquet")
    assert "window" not in rows


@pytest.mark.parametrize("posterior", ["mean", "sample"])
def test_more_windows_encode_only_those_that_are_new(world, tmp_path, posterior):
    encoding = VideoEncoding(dtype="fp32", posterior=posterior)
    encode(world, tmp_path, PatchAutoencoder(0.1), encoding, run="one")
    one = LatentStore(tmp_path / "one/latents")
    counts = encode(world, tmp_path, PatchAutoencoder(0.1), encoding, run="two", windows=2)
    assert (counts["found"], counts["encoded"]) == (8, 6)
    two = LatentStore(tmp_path / "two/latents")
    for clip in ("c0", "c5"):
        first, last = (two.at(two.locate(clip, VIDEO, draw)) for draw in (2, 3))
        assert torch.equal(one.get(clip, VIDEO), first)
        assert not torch.equal(first, last)


def test_epochs_train_on_windows_by_seed_epoch_and_id(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder(), windows=3)
    ids, epochs = ["c0", "c1"], 12
    plan = pd.DataFrame({"epoch": range(epochs), "bucket": str(VIDEO)})
    plan["ids"] = [ids if epoch % 2 else ids[::-1] for epoch in range(epochs)]
    plan.attrs = {"hash": "h"}
    write_plan(plan, tmp_path / "plan.parquet")
    tiny_stores.fill_embeddings(
        tmp_path / "text/0000.parquet", {"a": torch.ones(1, 2)}, dict.fromkeys(ids, "a"), TEXT
    )
    paths = (tmp_path / "run/latents", tmp_path / "text", tmp_path / "plan.parquet")
    windows = {clip: [pixels_of(world, clip, start) for start in (0, 1, 2)] for clip in ids}

    def seen(seed: int) -> list[tuple[str, int]]:
        dataset, found = LatentDataset(*paths, seed=seed), []
        for position in range(epochs):
            batch = dataset[position]
            for clip, latent in zip(batch["ids"], batch["latents"], strict=True):
                decoded = PatchAutoencoder().decode(latent[None])[0]
                same = [torch.equal(decoded, window) for window in windows[clip]]
                found.append((clip, same.index(True)))
        return found

    first = seen(seed=1)
    assert first == seen(seed=1)
    assert first != seen(seed=2)
    for clip in ids:
        assert {window for name, window in first if name == clip} == {0, 1, 2}


def test_a_window_that_can_not_be_read_leaves_the_others(world, tmp_path):
    lying = world.manifest.assign(num_frames=[20, *world.manifest["num_frames"][1:]])
    encode(world, tmp_path, PatchAutoencoder(), manifest=lying, windows=2)
    latents = read_index([tmp_path / "run/latents"], "encode_videos", has_buckets=True)
    assert sorted(latents.loc[latents["id"] == "c0", "status"]) == ["ok", "too_short"]
    plan = BatchPlan(world.folder / "plan.parquet")
    assert find_rejected(plan, latents, None).empty
    store = LatentStore(tmp_path / "run/latents")
    assert {store.locate("c0", VIDEO, draw) for draw in range(9)} == {store.locate("c0", VIDEO)}
    lost = latents.assign(status=["too_short" if x == "c0" else "ok" for x in latents["id"]])
    assert find_rejected(plan, lost, None)["id"].tolist() == ["c0"]


def test_a_window_twice_is_refused(world, tmp_path):
    encode(world, tmp_path, PatchAutoencoder(), windows=2)
    index = tmp_path / "run/latents/0000.parquet"
    (tmp_path / "run/latents/0001.parquet").write_bytes(index.read_bytes())
    with pytest.raises(StoreError, match="24px"):
        LatentStore(tmp_path / "run/latents")


def test_the_doctor_compares_each_window_with_its_frames(world, tmp_path, monkeypatch):
    encode(world, tmp_path, PatchAutoencoder(), windows=3)
    monkeypatch.setattr(
        "opensora.precompute.examine.load_autoencoder", lambda *_: PatchAutoencoder()
    )
    roots = [tmp_path / "run/latents"]
    settings = {"vae": "vae", "manifest": world.manifest, "device": "cpu"}
    assert len(data_files(tmp_path)) == 2
    said = examine_latents(roots, min_psnr=60.0, **settings)  # pixels as they are
    assert said.startswith("8 clips in 2 buckets")
