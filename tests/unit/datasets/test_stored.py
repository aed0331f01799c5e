"""Latents stored as mean and deviation are drawn when a batch is read."""

import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.core.seed import derive_seed, take_turns
from opensora.datasets.stored import LatentDataset
from opensora.plans.compile import write_plan
from opensora.stores.latents import LatentStore
from tests import tiny_stores


def draw_caption(seed: int, epoch: int, clip: str, number: int) -> int:
    return take_turns(number, epoch, seed=seed, what="caption", identity=clip)


BUCKET = Bucket("32px", 2, "0.60")
IDENTITY = {"type": "V", "dtype": "fp32", "posterior": "moments"}
TEXT = {"type": "t", "model_max_length": 3}
IDS = ["c0", "c1"]


def moments(name: str) -> torch.Tensor:
    """[2 C = 4, T = 2, H = 3, W = 5]: means 10 and 20, deviations 1 and 2."""
    values = torch.tensor([10.0, 20.0, 1.0, 2.0]) + (100.0 if name == "c1" else 0.0) * torch.tensor(
        [1.0, 1.0, 0.0, 0.0]
    )
    return values[:, None, None, None].expand(4, 2, 3, 5).contiguous()


@pytest.fixture
def folder(tmp_path):
    latents = {(name, BUCKET): moments(name) for name in IDS}
    tiny_stores.fill_latents(tmp_path / "latents/0000.parquet", latents, IDENTITY)
    captions = dict.fromkeys(IDS, "a")
    tiny_stores.fill_embeddings(
        tmp_path / "text/0000.parquet", {"a": torch.ones(1, 2)}, captions, TEXT
    )
    # the same batch in two epochs, then the clips in another order
    plan = pd.DataFrame({"epoch": [0, 1, 1], "bucket": str(BUCKET)})
    plan["ids"] = [IDS, IDS, IDS[::-1]]
    plan.attrs = {"hash": "h"}
    write_plan(plan, tmp_path / "plan.parquet")
    return tmp_path


def open_dataset(folder, **options) -> LatentDataset:
    return LatentDataset(folder / "latents", folder / "text", folder / "plan.parquet", **options)


def test_the_draw_is_mean_plus_deviation_times_noise_of_seed_epoch_and_id(folder):
    dataset = open_dataset(folder, seed=3)
    assert dataset.latent_channels == 2
    latents = dataset[1]["latents"]  # epoch 1
    assert latents.shape == (2, 2, 2, 3, 5)
    for index, name in enumerate(IDS):
        generator = torch.Generator().manual_seed(derive_seed(3, "posterior", 1, name))
        noise = torch.randn(2, 2, 3, 5, generator=generator).transpose(0, 1)  # frame by frame
        mean, deviation = moments(name).chunk(2)
        torch.testing.assert_close(latents[index], mean + deviation * noise)


def test_the_draw_changes_with_epoch_and_seed_and_not_with_the_neighbours(folder):
    first, second, turned = (open_dataset(folder)[k]["latents"] for k in range(3))
    assert not torch.equal(first, second)
    assert torch.equal(second, turned.flip(0))
    assert torch.equal(second, open_dataset(folder)[1]["latents"])  # whatever was read before
    assert not torch.equal(second, open_dataset(folder, seed=4)[1]["latents"])


def test_draws_and_moments_do_not_mix_in_one_store(folder):
    other = {**IDENTITY, "posterior": "sample", "seed": 42}
    latents = {("c2", BUCKET): moments("c0")[:2]}
    tiny_stores.fill_latents(folder / "latents/0001.parquet", latents, other)
    with pytest.raises(StoreError, match="encoded with posterior 'sample', expected 'moments'"):
        LatentStore(folder / "latents")


VALUES = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
CAPTIONS = {("c0", 0): "a", ("c0", 1): "b", ("c0", 2): "c", ("c1", 0): "a", ("c1", 2): "d"}


@pytest.fixture
def several(folder):
    """Three captions of one clip and two of another, whose second has no embedding; six epochs."""
    tokens = {text: torch.full((1, 2), value) for text, value in VALUES.items()}
    tiny_stores.fill_embeddings(folder / "text/0000.parquet", tokens, CAPTIONS, TEXT)
    plan = pd.DataFrame({"epoch": range(6), "bucket": str(BUCKET)})
    plan["ids"] = [IDS, IDS[::-1]] * 3
    plan.attrs = {"hash": "h"}
    write_plan(plan, folder / "plan.parquet")
    return folder


def embeddings_seen(dataset: LatentDataset, positions) -> dict[tuple[int, str], float]:
    found = {}
    for position in positions:
        batch = dataset[position]
        for row, name in enumerate(batch["ids"]):
            assert batch["mask"][row].tolist() == [1, 0, 0]
            assert batch["y"][row, 0, 0, 0] == batch["y"][row, 0, 0, 1]
            found[position, name] = float(batch["y"][row, 0, 0, 0])
    return found


def test_an_epoch_trains_the_caption_that_is_drawn_for_it(several):
    seen = embeddings_seen(open_dataset(several, seed=3), range(6))
    texts = {"c0": ["a", "b", "c"], "c1": ["a", "d"]}
    assert seen == {
        (epoch, name): VALUES[texts[name][draw_caption(3, epoch, name, len(texts[name]))]]
        for epoch in range(6)
        for name in IDS
    }
    for name, count in (("c0", 3), ("c1", 2)):  # each round of epochs has each once
        rounds = [range(start, start + count) for start in range(0, 6, count)]
        assert all({seen[e, name] for e in part} == {VALUES[t] for t in texts[name]}
                   for part in rounds)  # fmt: skip


def test_a_resumed_run_and_one_on_more_ranks_see_the_same_captions(several):
    straight = embeddings_seen(open_dataset(several, seed=3), range(6))
    behind = embeddings_seen(open_dataset(several, seed=3), [5, 2, 4])
    assert all(behind[key] == straight[key] for key in behind)
    other = embeddings_seen(open_dataset(several, seed=4), range(6))
    assert other != straight


def test_a_clip_may_be_in_a_batch_twice(folder):
    """As where its source is seen more often than others."""
    plan = pd.DataFrame({"epoch": [0, 0], "bucket": str(BUCKET)})
    plan["ids"] = [["c0", "c1", "c0"], ["c1", "c0"]]
    plan.attrs = {"hash": "h"}
    write_plan(plan, folder / "plan.parquet")
    dataset = open_dataset(folder, seed=3)
    three, two = dataset[0], dataset[1]
    assert three["ids"] == ["c0", "c1", "c0"]
    for place, other in ((0, 1), (1, 0), (2, 1)):
        assert torch.equal(three["latents"][place], two["latents"][other])
        assert torch.equal(three["y"][place], two["y"][other])
