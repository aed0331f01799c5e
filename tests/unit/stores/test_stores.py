import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket, assign_buckets
from opensora.config.registry import DATASETS, build_module
from opensora.core.errors import StoreError
from opensora.datasets.stored import LatentDataset
from opensora.plans.compile import compile_plan, write_plan
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.latents import LatentStore
from opensora.stores.memory import BatchMemory
from tests import tiny_stores

BUCKET = Bucket("32px", 8, "0.60")
IDENTITY = {"type": "V", "weights": "w1", "dtype": "fp32"}
TEXT_IDENTITY = {"type": "t", "weights": "t1", "model_max_length": 6}


def latent(name: str) -> torch.Tensor:
    """A value per clip that is known without the store: [C=2, T=8, H=3, W=5]."""
    return torch.arange(240.0).view(2, 8, 3, 5) + 1000 * int(name[1:])


def fill_latents(index: Path, names: list[str], identity=IDENTITY, bucket=BUCKET) -> Path:
    latents = {(name, bucket): latent(name) for name in names}
    return tiny_stores.fill_latents(index, latents, identity)[0]


def fill_embeddings(index: Path) -> Path:
    tokens = {"a": torch.ones(2, 3), "b": torch.full((5, 3), 2.0)}
    captions = {"c0": "a", "c1": "b", "c2": "a", "c3": "a"}
    return tiny_stores.fill_embeddings(index, tokens, captions, TEXT_IDENTITY)


@pytest.fixture
def folder(tmp_path):
    """Of the indexes of a run; what they name lies beside it."""
    return tmp_path / "latents"


def test_latents_of_all_shards_read_back_exactly(folder):
    fill_latents(folder / "0000.parquet", ["c0", "c1"])
    fill_latents(folder / "0001.parquet", ["c2"])
    tiny_stores.fill_latents(folder / "0002.parquet", {}, {})  # an empty shard is fine
    store = LatentStore(folder)
    assert len(store) == 3
    assert store.identity == IDENTITY
    for name in ("c2", "c0", "c1", "c0"):
        assert torch.equal(store.get(name, BUCKET), latent(name))
    rows = store.rows.set_index("id")
    assert rows.loc["c1", ["row", "height", "width", "num_frames"]].tolist() == [1, 24, 40, 8]
    assert rows.loc["c1", "fps"] == 12.5


def test_a_store_of_empty_shards_is_valid_and_empty(folder):
    tiny_stores.fill_latents(folder / "0000.parquet", {}, {})
    assert len(LatentStore(folder)) == 0


def test_one_index_is_read_alone(folder):
    for name in ("c0", "c1"):
        fill_latents(folder / f"{name}.parquet", [name])
    assert LatentStore(folder / "c1.parquet").rows["id"].tolist() == ["c1"]


def test_rows_without_a_latent_are_told_apart(folder):
    other = Bucket("32px", 1, "0.60")
    gone = [("c7", BUCKET, "corrupt"), ("c0", other, "too_short")]
    latents = {("c0", BUCKET): latent("c0")}
    tiny_stores.fill_latents(folder / "0000.parquet", latents, IDENTITY, rejected=gone)
    store = LatentStore(folder)
    assert store.rows["id"].tolist() == ["c0"]
    found = store.rejected[["id", "bucket", "status", "file", "row"]].to_numpy().tolist()
    assert found == [
        ["c7", str(BUCKET), "corrupt", "", -1],
        ["c0", str(other), "too_short", "", -1],
    ]
    with pytest.raises(StoreError, match="no latent of 'c7'"):
        store.get("c7", BUCKET)
    assert store.verify() == 240 * 4


def test_results_can_be_moved_as_a_whole(tmp_path):
    fill_latents(tmp_path / "results/run/latents/0000.parquet", ["c0"])
    (tmp_path / "results").rename(tmp_path / "elsewhere")
    store = LatentStore(tmp_path / "elsewhere/run/latents")
    assert torch.equal(store.get("c0", BUCKET), latent("c0"))


def test_a_folder_of_the_layout_before_is_one_sentence(folder):
    for place in ("", "0000"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "index.parquet").touch()
        with pytest.raises(StoreError, match=r"index\.parquet of the layout before, .*; move it"):
            LatentStore(folder)
        fill_latents(folder / "0000.parquet", ["c0"])  # what came since is read
        assert len(LatentStore(folder)) == 1
        (folder / "0000.parquet").unlink()
        (folder / place / "index.parquet").unlink()


def test_bf16_is_kept(folder):
    stored = latent("c1").bfloat16()
    tiny_stores.fill_latents(folder / "0000.parquet", {("c1", BUCKET): stored}, IDENTITY)
    assert torch.equal(LatentStore(folder).get("c1", BUCKET), stored)


def test_equal_content_is_equal_bytes(tmp_path):
    indexes = [tmp_path / name / "latents/0000.parquet" for name in "ab"]
    files = [fill_latents(index, ["c0", "c1"]) for index in indexes]
    for a, b in (files, [file.with_suffix(".parquet") for file in files], indexes):
        assert a.read_bytes() == b.read_bytes()


def test_another_encoder_in_one_store_is_refused(folder):
    fill_latents(folder / "0000.parquet", ["c0"])
    fill_latents(folder / "0001.parquet", ["c1"], identity={**IDENTITY, "weights": "w2"})
    with pytest.raises(StoreError, match=r"0001\.parquet: encoded with weights 'w2', exp"):
        LatentStore(folder)


def test_an_expected_encoder_is_compared_field_by_field(folder):
    fill_latents(folder / "0000.parquet", ["c0"])
    store = LatentStore(folder)
    store.require_identity({"weights": "w1"})
    with pytest.raises(StoreError, match="dtype 'fp32', expected 'bf16'"):
        store.require_identity({"weights": "w1", "dtype": "bf16"})


def test_one_clip_twice_is_refused(folder):
    fill_latents(folder / "0000.parquet", ["c0"])
    fill_latents(folder / "0001.parquet", ["c0"])
    with pytest.raises(
        StoreError, match=r"32px\|8\|0\.60 c0 stands twice in its indexes \(0000\.parquet, 0001"
    ):
        LatentStore(folder)


def test_a_missing_latent_names_clip_bucket_and_rule(folder):
    fill_latents(folder / "0000.parquet", ["c0"])
    store = LatentStore(folder)
    with pytest.raises(StoreError, match=r"'c9' in bucket 32px\|8\|0\.60; run encode_videos"):
        store.get("c9", BUCKET)
    with pytest.raises(StoreError, match="no latent of 'c0'"):
        store.get("c0", Bucket("32px", 8, "1.00"))


def test_every_flipped_byte_is_found(folder):
    path = fill_latents(folder / "0000.parquet", ["c0", "c1"])
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    # a byte of the length, of the header, and of each row
    for position, names in ((3, ["c0"]), (header // 2, ["c0"]), (header + 7, ["c0"]), (-2, ["c1"])):
        bad = bytearray(good)
        bad[position] ^= 0b100
        path.write_bytes(bytes(bad))
        store = LatentStore(folder)
        for name in names:
            with pytest.raises(
                StoreError, match=r"damaged .*delete it and run `opensora encode-videos`"
            ) as error:
                store.get(name, BUCKET)
            assert path.name in str(error.value)
            with pytest.raises(StoreError, match="damaged"):
                LatentStore(folder).verify()
    path.write_bytes(good)
    assert torch.equal(LatentStore(folder).get("c1", BUCKET), latent("c1"))
    assert LatentStore(folder).verify() == 2 * 240 * 4


def test_a_row_is_checked_once_and_by_verify_again(folder):
    path = fill_latents(folder / "0000.parquet", ["c0"])
    store = LatentStore(folder)
    store.get("c0", BUCKET)
    bad = bytearray(path.read_bytes())
    bad[-2] ^= 1
    path.write_bytes(bytes(bad))
    store.get("c0", BUCKET)  # checked before: training does not pay twice
    with pytest.raises(StoreError, match="the checksum of c0 fails"):
        store.verify()


def test_reading_a_batch_checks_each_row_at_its_first_use(folder):
    path = fill_latents(folder / "0000.parquet", ["c0", "c1", "c2"])
    bad = bytearray(path.read_bytes())
    bad[-2] ^= 1  # the last row
    path.write_bytes(bytes(bad))
    store = LatentStore(folder)
    batch = store.read([1, 0], BatchMemory(pinned=False))
    assert torch.equal(batch["latents"], torch.stack([latent("c1"), latent("c0")]))
    with pytest.raises(StoreError, match="the checksum of c2 fails"):
        store.read([0, 2], BatchMemory(pinned=False))


@pytest.mark.parametrize("harm", ["cut", "header", "empty", "missing"])
def test_a_truncated_empty_or_missing_file_is_one_sentence_at_once(folder, harm):
    path = fill_latents(folder / "0000.parquet", ["c0"])
    opened = LatentStore(folder)
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: {"cut": -1, "header": 30, "empty": 0}[harm]])
    for use in (lambda: LatentStore(folder), lambda: opened.get("c0", BUCKET)):
        with pytest.raises(StoreError, match=r"\.safetensors: damaged \(") as caught:
            use()
        assert "\n" not in str(caught.value)
        assert "in a workflow with --forcerun encode_videos" in str(caught.value)


def test_what_is_being_written_is_not_read(folder):
    fill_latents(folder / "0000.parquet", ["c0"])
    (folder / ".0001.0a1b2c3d.parquet").write_bytes(b"half")
    assert LatentStore(folder).rows["id"].tolist() == ["c0"]


def test_exchanged_rows_of_a_file_are_found(folder):
    path = fill_latents(folder / "0000.parquet", ["c0", "c1"])
    data, row = path.read_bytes(), 240 * 4
    path.write_bytes(data[: -2 * row] + data[-row:] + data[-2 * row : -row])
    for name in ("c0", "c1"):
        with pytest.raises(StoreError, match=f"the checksum of {name} fails"):
            LatentStore(folder).get(name, BUCKET)


def test_exchanged_tokens_of_captions_are_found(folder):
    path = fill_embeddings(folder / "0000.parquet")
    ones, twos = (torch.full((n, 3), float(n // 2)).numpy().tobytes() for n in (2, 5))
    path.write_bytes(path.read_bytes().replace(ones + twos, twos + ones))
    with pytest.raises(StoreError, match="the checksum of c0 fails"):
        EmbeddingStore(folder).verify()


def test_an_index_with_other_checksums_is_one_sentence(folder, monkeypatch):
    monkeypatch.setattr("opensora.stores.index.CHECKSUM", "sum")
    fill_latents(folder / "0000.parquet", ["c0"])
    with pytest.raises(StoreError, match="checksums of another version; delete it and run"):
        LatentStore(folder)


@pytest.mark.parametrize("store", [LatentStore, EmbeddingStore])
def test_a_folder_without_index_names_the_rule(tmp_path, store):
    with pytest.raises(StoreError, match=r"holds no index; rule encode_"):
        store(tmp_path)
    (tmp_path / "0000.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="not a readable index of a store; delete it and run `ope"):
        store(tmp_path)


def test_captions_are_ragged_and_equal_ones_stored_once(folder):
    fill_embeddings(folder / "0000.parquet")
    store = EmbeddingStore(folder)
    assert [len(store.get(name)) for name in ("c0", "c1", "c2", "c3")] == [2, 5, 2, 2]
    assert torch.equal(store.get("c1"), torch.full((5, 3), 2.0))
    assert store.rows["row"].tolist() == [0, 1, 0, 0]
    with pytest.raises(StoreError, match="no embedding of 'c9'; run encode_captions"):
        store.get("c9")


def test_a_flipped_token_is_found(folder):
    path = fill_embeddings(folder / "0000.parquet")
    good = path.read_bytes()
    # tokens stand at the end or before the offsets: flip one byte of the value 2.0 of caption b
    position = good.rindex(torch.full((5, 3), 2.0).numpy().tobytes())
    bad = bytearray(good)
    bad[position] ^= 1
    path.write_bytes(bytes(bad))
    store = EmbeddingStore(folder)
    store.get("c0")
    with pytest.raises(StoreError, match="checksum of c1"):
        store.get("c1")


def test_a_flipped_offset_is_found_by_verify(folder):
    path = fill_embeddings(folder / "0000.parquet")
    assert EmbeddingStore(folder).verify() == 7 * 3 * 4
    good = path.read_bytes()
    bad = bytearray(good)
    bad[good.index(torch.tensor([0, 2, 7]).numpy().tobytes()) + 8] ^= 1
    path.write_bytes(bytes(bad))
    with pytest.raises(StoreError, match=r"\.safetensors: damaged \(its offsets differ"):
        EmbeddingStore(folder).verify()


@pytest.fixture
def dataset_config(tmp_path):
    fill_latents(tmp_path / "latents/0000.parquet", ["c0", "c1"])
    fill_latents(tmp_path / "latents/0001.parquet", ["c2", "c3"])
    fill_embeddings(tmp_path / "embeddings/0000.parquet")
    names = ["c0", "c1", "c2", "c3"]
    clips = pd.DataFrame({"id": names, "num_frames": 8, "height": 24, "width": 40})
    config = {"32px": {8: (1.0, 2)}}
    plan = compile_plan(
        [assign_buckets(clips, config, seed=0)], config, seed=0, epochs=2, world_size=2
    )
    write_plan(plan, tmp_path / "plan.parquet")
    parts = {name: str(tmp_path / name) for name in ("latents", "embeddings")}
    return {"type": "LatentDataset", **parts, "plan": str(tmp_path / "plan.parquet")}


def test_a_batch_holds_what_the_model_is_told(dataset_config):
    dataset: LatentDataset = build_module(dataset_config, DATASETS)
    assert len(dataset) == 4
    assert (dataset.latent_channels, dataset.text_dim, dataset.max_length) == (2, 3, 6)
    lengths = {"c0": 2, "c1": 5, "c2": 2, "c3": 2}
    for position in (3, 0, 2, 1):
        batch = dataset[position]
        assert batch["ids"] == dataset.plan[position].ids
        assert batch["latents"].shape == (2, 2, 8, 3, 5)
        for index, name in enumerate(batch["ids"]):
            assert torch.equal(batch["latents"][index], latent(name))
            assert batch["mask"][index].tolist() == [1] * lengths[name] + [0] * (6 - lengths[name])
            value = 2.0 if name == "c1" else 1.0
            assert batch["y"][index].sum() == value * 3 * lengths[name]  # zero beyond the caption
        for key, value in {"num_frames": 8, "height": 24, "width": 40, "fps": 12.5}.items():
            assert batch[key].tolist() == [value] * 2
        assert batch["ar"].tolist() == pytest.approx([0.6, 0.6])


def test_a_plan_that_asks_for_more_than_the_stores_hold_is_refused(dataset_config, tmp_path):
    (tmp_path / "latents/0001.parquet").unlink()
    with pytest.raises(StoreError, match="latents of 2 clips of the plan are missing"):
        build_module(dataset_config, DATASETS)


def test_many_files_stay_readable_with_few_mapped_and_none_open(folder, monkeypatch):
    monkeypatch.setattr("opensora.stores.store._MAX_MAPPED_FILES", 2)
    names = [f"c{i}" for i in range(5)]
    for name in names:
        fill_latents(folder / f"{name}.parquet", [name])
    store = LatentStore(folder)
    handles = len(os.listdir("/proc/self/fd"))
    for name in names * 2:
        assert torch.equal(store.get(name, BUCKET), latent(name))
    assert len(store._mapped) == 2
    assert len(os.listdir("/proc/self/fd")) == handles
