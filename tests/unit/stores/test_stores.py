import os
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket, assign_buckets
from opensora.config.registry import DATASETS, build_module
from opensora.core.errors import StoreError
from opensora.datasets.stored import LatentDataset
from opensora.plans.compile import compile_plan, write_plan
from opensora.stores.embeddings import (
    EmbeddingStore,
    write_embedding_index,
    write_embeddings,
)
from opensora.stores.files import checksum
from opensora.stores.latents import (
    LatentStore,
    is_latent_file,
    latent_file_name,
    write_latent_index,
    write_latents,
)
from opensora.stores.memory import BatchMemory

BUCKET = Bucket("32px", 8, "0.60")
IDENTITY = {"type": "V", "weights": "w1", "dtype": "fp32"}
TEXT_IDENTITY = {"type": "t", "weights": "t1", "model_max_length": 6}


def latent(name: str) -> torch.Tensor:
    """A value per clip that is known without the store: [C=2, T=8, H=3, W=5]."""
    return torch.arange(240.0).view(2, 8, 3, 5) + 1000 * int(name[1:])


def fill_latents(folder: Path, names: list[str], identity=IDENTITY, bucket=BUCKET) -> Path:
    items = pd.DataFrame({"id": names, "fps": 12.5, "sha256": "s"})
    file = latent_file_name(bucket, 0)
    write_latents(folder / file, [latent(name) for name in names], items, bucket, identity)
    write_latent_index(folder, [file], identity)
    return folder / file


def fill_embeddings(folder: Path) -> None:
    tokens = {"a": torch.ones(2, 3), "b": torch.full((5, 3), 2.0)}
    write_embeddings(folder / "t.safetensors", list(tokens.values()), list(tokens), TEXT_IDENTITY)
    captions = pd.DataFrame({"id": ["c0", "c1", "c2", "c3"], "text": ["a", "b", "a", "a"]})
    write_embedding_index(folder, ["t.safetensors"], captions, TEXT_IDENTITY)


def test_latents_of_all_shards_read_back_exactly(tmp_path):
    fill_latents(tmp_path / "0000", ["c0", "c1"])
    fill_latents(tmp_path / "0001", ["c2"])
    write_latent_index(tmp_path / "0002", [], {"type": "other"})  # an empty shard is fine
    store = LatentStore(tmp_path)
    assert len(store) == 3
    assert store.identity == IDENTITY
    for name in ("c2", "c0", "c1", "c0"):
        assert torch.equal(store.get(name, BUCKET), latent(name))
    rows = store.rows.set_index("id")
    assert rows.loc["c1", ["row", "height", "width", "num_frames"]].tolist() == [1, 24, 40, 8]
    assert rows.loc["c1", "fps"] == 12.5


def test_a_store_of_empty_shards_is_valid_and_empty(tmp_path):
    write_latent_index(tmp_path / "0000", [], IDENTITY)
    assert len(LatentStore(tmp_path)) == 0


def test_bf16_is_kept(tmp_path):
    items = pd.DataFrame({"id": ["c1"], "fps": 1.0, "sha256": ""})
    stored = latent("c1").bfloat16()
    write_latents(tmp_path / "x.safetensors", [stored], items, BUCKET, IDENTITY)
    write_latent_index(tmp_path, ["x.safetensors"], IDENTITY)
    assert torch.equal(LatentStore(tmp_path).get("c1", BUCKET), stored)


def test_equal_content_is_equal_bytes(tmp_path):
    files = [fill_latents(tmp_path / name, ["c0", "c1"]) for name in "ab"]
    for a, b in (files, [file.with_name("index.parquet") for file in files]):
        assert a.read_bytes() == b.read_bytes()


def test_another_encoder_in_one_store_is_refused(tmp_path):
    fill_latents(tmp_path / "0000", ["c0"])
    fill_latents(tmp_path / "0001", ["c1"], identity={**IDENTITY, "weights": "w2"})
    with pytest.raises(StoreError, match=r"0001: encoded with weights 'w2', expected 'w1'"):
        LatentStore(tmp_path)


def test_an_expected_encoder_is_compared_field_by_field(tmp_path):
    fill_latents(tmp_path, ["c0"])
    store = LatentStore(tmp_path)
    store.require_identity({"weights": "w1"})
    with pytest.raises(StoreError, match="dtype 'fp32', expected 'bf16'"):
        store.require_identity({"weights": "w1", "dtype": "bf16"})


def test_one_clip_twice_is_refused(tmp_path):
    fill_latents(tmp_path / "0000", ["c0"])
    fill_latents(tmp_path / "0001", ["c0"])
    with pytest.raises(StoreError, match=r"two files hold 32px\|8\|0\.60 c0"):
        LatentStore(tmp_path)


def test_a_missing_latent_names_clip_bucket_and_rule(tmp_path):
    fill_latents(tmp_path, ["c0"])
    store = LatentStore(tmp_path)
    with pytest.raises(StoreError, match=r"'c9' in bucket 32px\|8\|0\.60; run encode_videos"):
        store.get("c9", BUCKET)
    with pytest.raises(StoreError, match="no latent of 'c0'"):
        store.get("c0", Bucket("32px", 8, "1.00"))


def test_every_flipped_byte_is_found(tmp_path):
    path = fill_latents(tmp_path, ["c0", "c1"])
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    # a byte of the length, of the header, and of each row
    for position, names in ((3, ["c0"]), (header // 2, ["c0"]), (header + 7, ["c0"]), (-2, ["c1"])):
        bad = bytearray(good)
        bad[position] ^= 0b100
        path.write_bytes(bytes(bad))
        store = LatentStore(tmp_path)
        for name in names:
            with pytest.raises(
                StoreError, match=r"damaged .*run `opensora encode-videos` for"
            ) as error:
                store.get(name, BUCKET)
            assert path.name in str(error.value)
            with pytest.raises(StoreError, match="damaged"):
                LatentStore(tmp_path).verify()
    path.write_bytes(good)
    assert torch.equal(LatentStore(tmp_path).get("c1", BUCKET), latent("c1"))
    assert LatentStore(tmp_path).verify() == 2 * 240 * 4


def test_a_row_is_checked_once_and_by_verify_again(tmp_path):
    path = fill_latents(tmp_path, ["c0"])
    store = LatentStore(tmp_path)
    store.get("c0", BUCKET)
    bad = bytearray(path.read_bytes())
    bad[-2] ^= 1
    path.write_bytes(bytes(bad))
    store.get("c0", BUCKET)  # checked before: training does not pay twice
    with pytest.raises(StoreError, match="the checksum of c0 fails"):
        store.verify()


def test_reading_a_batch_checks_each_row_at_its_first_use(tmp_path):
    path = fill_latents(tmp_path, ["c0", "c1", "c2"])
    bad = bytearray(path.read_bytes())
    bad[-2] ^= 1  # the last row
    path.write_bytes(bytes(bad))
    store = LatentStore(tmp_path)
    batch = store.read([1, 0], BatchMemory(pinned=False))
    assert torch.equal(batch, torch.stack([latent("c1"), latent("c0")]))
    with pytest.raises(StoreError, match="the checksum of c2 fails"):
        store.read([0, 2], BatchMemory(pinned=False))


@pytest.mark.parametrize("harm", ["cut", "header", "empty", "missing"])
def test_a_truncated_empty_or_missing_file_is_one_sentence_at_once(tmp_path, harm):
    path = fill_latents(tmp_path, ["c0"])
    opened = LatentStore(tmp_path)
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: {"cut": -1, "header": 30, "empty": 0}[harm]])
    for use in (lambda: LatentStore(tmp_path), lambda: opened.get("c0", BUCKET)):
        with pytest.raises(StoreError, match=r"\.safetensors: damaged \(") as caught:
            use()
        assert "\n" not in str(caught.value)
        assert f"run `opensora encode-videos` for {tmp_path} again" in str(caught.value)


def test_a_folder_that_is_still_being_filled_is_not_read(tmp_path):
    fill_latents(tmp_path / "0000", ["c0"])
    fill_latents(tmp_path / "0001.partial", ["c1"])
    assert LatentStore(tmp_path).rows["id"].tolist() == ["c0"]
    assert len(LatentStore(tmp_path / "0001.partial")) == 1  # unless it is asked for by name


LINE = 512  # words


def by_hand(words: np.ndarray, rest: bytes = b"") -> int:
    """The checksum of whole lines of words and some bytes, by plain integers."""
    lines = [[int(word) for word in line] for line in words.reshape(-1, LINE)]
    sums = [sum(column) % 2**64 for column in zip(*lines, strict=True)], [sum(x) for x in lines]
    columns, others = (b"".join((x % 2**64).to_bytes(8, "little") for x in part) for part in sums)
    value = zlib.crc32(others) << 32 | zlib.crc32(columns + rest)
    return value - 2**64 if value >= 2**63 else value


def test_a_checksum_is_the_crc_of_the_sums_of_columns_and_lines():
    words = np.random.default_rng(0).integers(0, 2**64, 3 * LINE, np.uint64)
    assert checksum(words.view(np.uint8)) == by_hand(words)
    rest = b"seven b"
    data = np.concatenate((words.view(np.uint8), np.frombuffer(rest, np.uint8)))
    assert checksum(data) == by_hand(words, rest)
    assert checksum(np.frombuffer(rest, np.uint8)) == zlib.crc32(rest)
    assert checksum(np.zeros(0, np.uint8)) == 0


@pytest.mark.parametrize("size", [4, 40, 8 * LINE, 24 * LINE + 13])
def test_every_flipped_bit_is_found(size):
    data = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    data[: size // 2] = 255  # where a carry runs far
    good = checksum(data)
    for place in np.unique(np.linspace(0, size - 1, 97).astype(int)):
        for bit in range(8):
            data[place] ^= np.uint8(1 << bit)
            assert checksum(data) != good, (place, bit)
            data[place] ^= np.uint8(1 << bit)
    assert checksum(data) == good


@pytest.mark.parametrize(
    ("one", "other"),
    [(0, 1), (0, LINE), (5, 5 + 2 * LINE), (7, LINE + 9), (3 * LINE, 3 * LINE + 1)],
    ids=["neighbours", "a column", "a column further on", "anywhere", "beyond the last line"],
)
def test_exchanged_words_are_found(one, other):
    words = np.random.default_rng(2).integers(0, 2**64, 3 * LINE + 2, np.uint64)
    for difference in (None, 2**63, 1):  # in all bits, in the highest one, in the lowest
        if difference is not None:
            words[other] = words[one] ^ np.uint64(difference)
        good = checksum(words.view(np.uint8))
        words[[one, other]] = words[[other, one]]
        assert checksum(words.view(np.uint8)) != good


def test_exchanged_lines_and_parts_are_found():
    words = np.random.default_rng(3).integers(0, 2**64, (4, LINE), np.uint64)
    lines = words[[0, 2, 1, 3]]
    assert checksum(words.view(np.uint8).ravel()) != checksum(lines.view(np.uint8).ravel())
    parts = [row.view(np.uint8) for row in words[:2]]
    assert checksum(*parts) != checksum(*parts[::-1])


def test_exchanged_rows_of_a_file_are_found(tmp_path):
    path = fill_latents(tmp_path, ["c0", "c1"])
    data, row = path.read_bytes(), 240 * 4
    path.write_bytes(data[: -2 * row] + data[-row:] + data[-2 * row : -row])
    for name in ("c0", "c1"):
        with pytest.raises(StoreError, match=f"the checksum of {name} fails"):
            LatentStore(tmp_path).get(name, BUCKET)


def test_exchanged_tokens_of_captions_are_found(tmp_path):
    fill_embeddings(tmp_path)
    path = tmp_path / "t.safetensors"
    ones, twos = (torch.full((n, 3), float(n // 2)).numpy().tobytes() for n in (2, 5))
    path.write_bytes(path.read_bytes().replace(ones + twos, twos + ones))
    with pytest.raises(StoreError, match="the checksum of c0 fails"):
        EmbeddingStore(tmp_path).verify()


def test_an_index_with_other_checksums_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("opensora.stores.files.CHECKSUM", "sum")
    fill_latents(tmp_path, ["c0"])
    with pytest.raises(StoreError, match="checksums of another version; run `opensora encode-vid"):
        LatentStore(tmp_path)


def test_a_file_counts_as_finished_only_for_the_same_clips_and_encoder(tmp_path):
    path = fill_latents(tmp_path, ["c0", "c1"])
    items = pd.DataFrame({"id": ["c0", "c1"], "fps": 12.5, "sha256": "s"})
    assert is_latent_file(path, items, BUCKET, IDENTITY)
    assert not is_latent_file(path, items.iloc[:1], BUCKET, IDENTITY)
    assert not is_latent_file(path, items.assign(sha256="other file"), BUCKET, IDENTITY)
    assert not is_latent_file(path, items, BUCKET, {**IDENTITY, "weights": "w2"})
    assert not is_latent_file(path, items, Bucket("32px", 8, "1.00"), IDENTITY)
    assert not is_latent_file(path, items.assign(fps=25.0), BUCKET, IDENTITY)
    assert not is_latent_file(tmp_path / "none.safetensors", items, BUCKET, IDENTITY)


def test_a_file_with_any_flipped_byte_is_not_finished(tmp_path):
    path = fill_latents(tmp_path, ["c0"])
    items = pd.DataFrame({"id": ["c0"], "fps": 12.5, "sha256": "s"})
    good = path.read_bytes()
    for position in range(0, len(good), 3):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        path.write_bytes(bytes(bad))
        assert not is_latent_file(path, items, BUCKET, IDENTITY), position
    path.write_bytes(b"")
    assert not is_latent_file(path, items, BUCKET, IDENTITY)
    path.write_bytes(good)
    assert is_latent_file(path, items, BUCKET, IDENTITY)


@pytest.mark.parametrize("store", [LatentStore, EmbeddingStore])
def test_a_folder_without_index_names_the_rule(tmp_path, store):
    with pytest.raises(StoreError, match=r"holds no index\.parquet; rule encode_"):
        store(tmp_path)
    (tmp_path / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="not a readable store index"):
        store(tmp_path)


def test_captions_are_ragged_and_equal_ones_stored_once(tmp_path):
    fill_embeddings(tmp_path)
    store = EmbeddingStore(tmp_path)
    assert [len(store.get(name)) for name in ("c0", "c1", "c2", "c3")] == [2, 5, 2, 2]
    assert torch.equal(store.get("c1"), torch.full((5, 3), 2.0))
    assert store.rows["row"].tolist() == [0, 1, 0, 0]
    with pytest.raises(StoreError, match="no embedding of 'c9'; run encode_captions"):
        store.get("c9")


def test_a_flipped_token_is_found(tmp_path):
    fill_embeddings(tmp_path)
    path = tmp_path / "t.safetensors"
    good = path.read_bytes()
    # tokens stand at the end or before the offsets: flip one byte of the value 2.0 of caption b
    position = good.rindex(torch.full((5, 3), 2.0).numpy().tobytes())
    bad = bytearray(good)
    bad[position] ^= 1
    path.write_bytes(bytes(bad))
    store = EmbeddingStore(tmp_path)
    store.get("c0")
    with pytest.raises(StoreError, match="checksum of c1"):
        store.get("c1")


def test_a_flipped_offset_is_found_by_verify(tmp_path):
    fill_embeddings(tmp_path)
    assert EmbeddingStore(tmp_path).verify() == 7 * 3 * 4
    path = tmp_path / "t.safetensors"
    good = path.read_bytes()
    bad = bytearray(good)
    bad[good.index(torch.tensor([0, 2, 7]).numpy().tobytes()) + 8] ^= 1
    path.write_bytes(bytes(bad))
    with pytest.raises(StoreError, match=r"t\.safetensors: damaged \(its offsets differ"):
        EmbeddingStore(tmp_path).verify()


@pytest.fixture
def dataset_config(tmp_path):
    fill_latents(tmp_path / "latents" / "0000", ["c0", "c1"])
    fill_latents(tmp_path / "latents" / "0001", ["c2", "c3"])
    fill_embeddings(tmp_path / "embeddings")
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
    (tmp_path / "latents" / "0001" / "index.parquet").unlink()
    with pytest.raises(StoreError, match="latents of 2 clips of the plan are missing"):
        build_module(dataset_config, DATASETS)


def test_many_files_stay_readable_with_few_mapped_and_none_open(tmp_path, monkeypatch):
    monkeypatch.setattr("opensora.stores.store._MAX_MAPPED_FILES", 2)
    names = [f"c{i}" for i in range(5)]
    for name in names:
        fill_latents(tmp_path / name, [name])
    store = LatentStore(tmp_path)
    handles = len(os.listdir("/proc/self/fd"))
    for name in names * 2:
        assert torch.equal(store.get(name, BUCKET), latent(name))
    assert len(store._mapped) == 2
    assert len(os.listdir("/proc/self/fd")) == handles
