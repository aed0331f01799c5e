"""Reading ahead, and turning decoded clips into latents and embeddings."""

import threading
import time

import pandas as pd
import pytest
import torch

from opensora.acceleration.workers import Workers
from opensora.buckets.bucket import assign_buckets
from opensora.core.seed import derive_seed
from opensora.models.text_encoder.t5 import T5Encoder
from opensora.models.vae.base import sample_moments
from opensora.plans.compile import compile_plan, write_plan
from opensora.training.config import TrainConfig
from opensora.training.data import open_source, read_ahead

ALONE = Workers(0, 1, torch.device("cpu"))


class Numbers:
    """A source that gives back the position, and remembers who asked for what."""

    def __init__(self, num_readers: int | None = None) -> None:
        self.num_readers = num_readers
        self.asked: list[int] = []
        self.threads: set[str] = set()

    def read(self, position: int) -> int:
        self.asked.append(position)
        self.threads.add(threading.current_thread().name)
        time.sleep(0.01)
        if position == 13:
            raise ValueError("position 13 is unlucky")
        return position


@pytest.mark.parametrize("num_ahead", [0, 1, 3])
def test_batches_come_in_order_and_no_more_than_asked_are_ahead(num_ahead):
    numbers = Numbers()
    taken = []
    for position in read_ahead(numbers, range(20, 32), num_ahead):
        taken.append(position)
        assert len(numbers.asked) <= len(taken) + num_ahead
    assert taken == list(range(20, 32))
    assert sorted(numbers.asked) == taken  # each once


@pytest.mark.parametrize(("num_readers", "expected"), [(1, 1), (None, 3), (2, 2)])
def test_as_many_threads_read_as_the_source_allows(num_readers, expected):
    numbers = Numbers(num_readers)
    list(read_ahead(numbers, range(20, 32), 3))
    assert len(numbers.threads) == expected
    assert threading.main_thread().name not in numbers.threads


def test_a_read_that_fails_ends_the_run_at_its_place_and_stops_reading():
    numbers = Numbers()
    taken: list[int] = []
    before = set(threading.enumerate())  # a run that failed in another test may keep readers
    with pytest.raises(ValueError, match="unlucky"):
        taken.extend(read_ahead(numbers, range(10, 40), 2))  # keeps what came before
    assert taken == [10, 11, 12]
    assert max(numbers.asked) <= 16
    assert not [
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("read_ahead")
    ]


@pytest.fixture(scope="module")
def source(video_world, tmp_path_factory):
    return open_online(video_world, tmp_path_factory.mktemp("source") / "plan.parquet", "sample")


def open_online(world, plan, posterior):
    manifest = pd.read_csv(world / "manifest.csv")
    buckets = {"24px": {4: (1.0, 2), 1: (1.0, 2)}}
    placed = assign_buckets(manifest, buckets, seed=1)
    write_plan(compile_plan([placed], buckets, seed=1, epochs=2), plan, frame_interval=1)
    config = TrainConfig(
        model={},
        scheduler={},
        dataset={"type": "VariableVideoTextDataset", "data_path": f"{world}/manifest.csv"},
        outputs=str(plan.parent),
        vae={"type": "VideoAutoencoderKL", "from_pretrained": f"{world}/vae"},
        text_encoder={"type": "t5", "from_pretrained": f"{world}/t5", "model_max_length": 12},
        posterior=posterior,
        dtype="fp32",
    )
    return open_source(config, ALONE, plan)


def test_a_draw_depends_on_seed_epoch_and_id_alone(source):
    batch = source.read(0)
    other_epoch = next(p for p in range(len(source.plan)) if source.plan[p].epoch == 1)
    latents = source.encode(0, batch)["latents"]
    turned = {**batch, "video": batch["video"].flip(0), "ids": batch["ids"][::-1]}
    assert torch.allclose(source.encode(0, turned)["latents"], latents.flip(0), atol=1e-6)
    assert not torch.allclose(source.encode(other_epoch, batch)["latents"], latents, atol=1e-3)


def test_a_draw_is_that_of_latents_stored_as_moments(source):
    """`LatentDataset` draws from stored moments with the same seeds."""
    batch = source.read(0)
    generators = [
        torch.Generator().manual_seed(derive_seed(42, "posterior", 0, name))
        for name in batch["ids"]
    ]
    moments = source._vae.encode(batch["video"], posterior="moments")
    expected = sample_moments(moments, generators)
    assert torch.equal(source.encode(0, batch)["latents"], expected)


def test_identities_and_sizes_are_those_of_the_encoders(source, video_world, tmp_path):
    assert source.latent_channels == 4
    assert (source.text_dim, source.max_length) == (16, 12)
    assert source.latent_sizes == {"24px|1|1.00": (1, 6, 6), "24px|4|1.00": (4, 6, 6)}
    assert source.latent_identity["posterior"] == "sample"
    mean = open_online(video_world, tmp_path / "plan.parquet", "mean")
    assert mean.latent_identity == {**source.latent_identity, "posterior": "mean"}
    assert mean.embedding_identity == source.embedding_identity


def test_captions_of_the_coming_batches_are_encoded_with_those_of_the_first(
    video_world, tmp_path, monkeypatch
):
    source = open_online(video_world, tmp_path / "plan.parquet", "sample")
    alone = [source.encode(place, source.read(place)) for place in range(len(source.plan))]
    again = open_online(video_world, tmp_path / "plan.parquet", "sample")
    calls = []
    encode = T5Encoder.encode
    monkeypatch.setattr(T5Encoder, "encode", lambda *words: calls.append(words) or encode(*words))
    for place in (3, 2):  # as a run that begins elsewhere
        batch = again.encode(place, again.read(place))
        assert torch.equal(batch["y"], alone[place]["y"])
    assert len(calls) == 1  # all three captions of the world, which are of one length
