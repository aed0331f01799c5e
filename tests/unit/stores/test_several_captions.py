"""An index of embeddings by (id, k)."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from opensora.core.errors import StoreError
from opensora.stores.catalogue import Catalogue
from opensora.stores.embeddings import EmbeddingStore, pack_tokens, write_embeddings
from opensora.stores.index import embedding_columns, embedding_rows, read_index, write_index
from opensora.stores.keys import KEY, text_key

TEXTS = {"a dog": 1.0, "it runs": 2.0, "a cat": 3.0}
IDENTITY = {"type": "t", "model_max_length": 3}
# out of order, one text twice, and one without an embedding
ROWS = [("a", 1, "it runs"), ("b", 2, "a cat"), ("a", 0, "a dog"), ("b", 0, "a dog"), ("b", 1, "")]


def write(index: Path, rows: list[tuple[str, int, str]]) -> Path:
    catalogue = Catalogue(index.parent.parent / "store/t", "0000of0001")
    tokens = [torch.full((2, 4), value) for value in TEXTS.values()]
    tensors = pack_tokens(tokens, int8=False)
    path, entries = write_embeddings(catalogue, tensors, [2] * len(TEXTS), list(TEXTS), IDENTITY)
    found = catalogue.add(path, entries, {})
    items = pd.DataFrame(rows, columns=["id", "k", "text"]).assign(detail="")
    items[KEY] = [text_key(text) for text in items["text"]]
    items["status"] = ["ok" if text else "no_token" for text in items["text"]]
    write_index(
        *(index, embedding_rows(items, found)),
        columns=embedding_columns(items),
        store=catalogue.folder,
        identity=IDENTITY,
        files=catalogue.files,
        gate={},
    )
    return index.parent


def test_each_caption_of_a_clip_has_its_embedding(tmp_path: Path) -> None:
    store = EmbeddingStore(write(tmp_path / "run/0000.parquet", ROWS))
    values = {(name, k): TEXTS[text] for name, k, text in ROWS if text}
    assert {key: float(store.get(*key)[0, 0]) for key in values} == values
    assert float(store.get("b")[0, 0]) == TEXTS["a dog"]
    assert store.verify() == len(TEXTS) * 2 * 4 * 4
    for name, present in (("a", [0, 1]), ("b", [0, 2])):
        assert store.rows["k"].iloc[store.locate_all(name)].tolist() == present
    assert store.rejected[["id", "k", "status"]].to_numpy().tolist() == [["b", 1, "no_token"]]
    with pytest.raises(StoreError, match="no embedding of caption 1 of 'b'"):
        store.get("b", 1)
    with pytest.raises(StoreError, match="no embedding of 'x'"):
        store.get("x")


def test_a_caption_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "run/0000.parquet", [*ROWS, ROWS[0]])
    with pytest.raises(StoreError, match="'a' stands twice"):
        EmbeddingStore(folder)


def test_indexes_of_one_caption_a_clip_know_no_number_and_are_read_beside_others(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path / "run/0000.parquet", ROWS)
    rows, record = read_index(folder / "0000.parquet")
    single = rows[rows["id"] == "a"][:1].drop(columns="k").assign(id="c")
    columns = embedding_columns(single)
    assert "k" not in columns
    write_index(
        *(folder / "0001.parquet", single),
        columns=columns,
        store=(folder / record["store"]).resolve(),
        identity=IDENTITY,
        files=record["files"],
        gate={},
    )
    store = EmbeddingStore(folder)
    assert float(store.get("c")[0, 0]) == TEXTS["it runs"]
    assert float(store.get("b", 2)[0, 0]) == TEXTS["a cat"]
