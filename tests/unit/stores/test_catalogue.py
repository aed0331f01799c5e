"""Rows are found wherever they stand, and files appear whole or not at all."""

from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import ConfigError, StoreError
from opensora.stores.catalogue import Catalogue, new_file
from opensora.stores.keys import (
    address_of,
    file_name,
    latent_key,
    part_name,
    text_key,
)


def add(folder: Path, part: str, keys: list[str], data: bytes = b"data") -> str:
    """Enter a data file of some bytes; returns its name in the catalogue."""
    catalogue = Catalogue(folder, part)
    path = catalogue.path_of(file_name("x", keys))
    with new_file(path) as temporary:
        temporary.write_bytes(len(data).to_bytes(8, "little") + data)
    rows = pd.DataFrame({"key": keys, "row": range(len(keys)), "checksum": 7, "sha256": "s"})
    return catalogue.add(path, rows, {"items": len(keys)})["file"].iloc[0]


def found(catalogue: Catalogue, *keys: str) -> dict[str, tuple[str, int]]:
    rows = catalogue.find(keys)
    return {
        key: (file, row)
        for key, file, row in zip(rows["key"], rows["file"], rows["row"], strict=True)
    }


def test_keys_and_addresses_are_of_all_that_decides():
    assert len({latent_key("a", "b", 1), latent_key("a", "b", 2), latent_key("a", "c", 1)}) == 3
    assert latent_key("a", "b", 1) == latent_key("a", "b", 1) == latent_key("a", "b", 1, 0)
    assert len({latent_key("a", "b", 1, window) for window in range(9)}) == 9
    # keys of stores that are there already
    assert latent_key("a", "b", 1) == sha256(b"a\x1fb\x1f1").hexdigest()[:32]
    assert len(latent_key("a", "b", 1)) == len(text_key("")) == 32
    assert address_of({"a": 1, "b": 2}) == address_of({"b": 2, "a": 1}) != address_of({"a": 1})
    assert file_name("x", ["a", "b"]) != file_name("x", ["ab"])
    assert part_name(3, 12) == "0003of0012"
    with pytest.raises(ConfigError, match="--shard 2 --num-shards 2"):
        part_name(2, 2)


def test_nothing_is_found_where_nothing_is(tmp_path):
    catalogue = Catalogue(tmp_path / "none", "p")
    assert len(catalogue.find(["a"])) == len(catalogue.find([])) == 0
    assert catalogue.identity() is None
    assert not (tmp_path / "none").exists()  # to look makes nothing


def test_the_own_part_counts_and_others_are_asked_for_the_rest(tmp_path):
    other = add(tmp_path, "other", ["a", "b", "c"])
    own = add(tmp_path, "own", ["a"])
    catalogue = Catalogue(tmp_path, "own")
    assert found(catalogue, "a", "c", "d") == {"a": (own, 0), "c": (other, 2)}
    assert catalogue.rows_of(other) == 3
    assert catalogue.facts(other) == {"items": 3}
    assert catalogue.find(["c"])["sha256"].tolist() == ["s"]


def test_of_two_files_the_one_with_more_rows_counts_then_the_name(tmp_path):
    add(tmp_path, "own", ["a"])
    big = add(tmp_path, "own", ["a", "b"])
    assert found(Catalogue(tmp_path, "own"), "a") == {"a": (big, 0)}
    names = sorted(add(tmp_path, "own", [x, "z", "y"]) for x in "pq")
    assert found(Catalogue(tmp_path, "own"), "z") == {"z": (names[0], 1)}


@pytest.mark.parametrize("lost", [".safetensors", ".json", ".parquet"])
def test_a_file_that_lacks_something_is_not_there(tmp_path, lost):
    name = add(tmp_path, "own", ["a"])
    (tmp_path / name).with_suffix(lost).unlink()
    assert found(Catalogue(tmp_path, "own"), "a") == {}


def test_a_file_of_another_size_or_header_is_not_there(tmp_path):
    path = tmp_path / add(tmp_path, "own", ["a"])
    good = path.read_bytes()
    for bad in (good + b"x", good[:-1], good[:9] + b"X" + good[10:]):
        path.write_bytes(bad)
        assert found(Catalogue(tmp_path, "own"), "a") == {}
    path.write_bytes(good)
    assert len(found(Catalogue(tmp_path, "own"), "a")) == 1


def test_a_file_that_is_joined_while_somebody_looks_is_looked_for_again(tmp_path, monkeypatch):
    small = tmp_path / add(tmp_path, "other", ["a"])
    rows_in, asked = Catalogue._rows_in, []

    def join_first(self, index, wanted):
        asked.append(index)
        if len(asked) == 1:  # listed, and then another job joins and sweeps
            add(tmp_path, "other", ["a", "b"])
            for suffix in (".safetensors", ".parquet", ".json"):
                small.with_suffix(suffix).unlink()
        return rows_in(self, index, wanted)

    monkeypatch.setattr(Catalogue, "_rows_in", join_first)
    (file, row), *_ = found(Catalogue(tmp_path, "own"), "a").values()
    assert (file, row) == (f"other/{file_name('x', ['a', 'b'])}", 0)


def test_the_first_file_of_a_name_stays(tmp_path):
    for content in ("first", "second"):
        with new_file(tmp_path / "x.json") as temporary:
            temporary.write_text(content)
    assert (tmp_path / "x.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_file_system_without_links_keeps_the_first_file_too(tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", link)
    for content in ("first", "second"):
        with new_file(tmp_path / "x.json") as temporary:
            temporary.write_text(content)
    assert (tmp_path / "x.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_what_fails_leaves_nothing(tmp_path):
    def write() -> None:
        with new_file(tmp_path / "x.json") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_the_first_identity_counts_and_another_is_refused(tmp_path):
    catalogue = Catalogue(tmp_path / "address", "own")
    catalogue.keep_identity({"type": "V", "weights": "w"})
    catalogue.keep_identity({"type": "V", "weights": "w"})
    assert catalogue.identity() == {"type": "V", "weights": "w"}
    for other in ({"type": "V"}, {"type": "V", "weights": "w", "more": 1}):
        with pytest.raises(StoreError, match=r"address: was filled with \w+ .* and the"):
            catalogue.keep_identity(other)


def test_only_many_small_files_are_joined(tmp_path):
    names = [add(tmp_path, "own", [f"{k}"]) for k in range(17)]
    big = add(tmp_path, "own", [f"big {k}" for k in range(5)])
    catalogue = Catalogue(tmp_path, "own")
    catalogue.find([*(f"{k}" for k in range(17)), "big 0"])
    assert catalogue.small_files([*names, big], 10) == sorted(names)  # half a full one is not small
    assert catalogue.small_files([*names[:16], big], 10) == []
    assert len(catalogue.small_files([*names, big], 11)) == 18
