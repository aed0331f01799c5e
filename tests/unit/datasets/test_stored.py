"""Latents stored as mean and deviation are drawn when a batch is read."""

import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.core.seed import derive_seed
from opensora.datasets.stored import LatentDataset
from opensora.plans.compile import write_plan
from opensora.stores.latents import LatentStore
from tests import tiny_stores

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
