import json
import tarfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from opensora.core.errors import TableError
from opensora.curation.export.formats import Shards, export_parquet, export_webdataset


@pytest.fixture
def manifest(tmp_path: Path) -> pd.DataFrame:
    rows = []
    for k, split in enumerate(["train", "train", "validation", "train"]):
        path = tmp_path / f"clip{k}.mp4"
        path.write_bytes(bytes([k]) * 10)
        rows.append({"id": f"a.b_{k}", "path": str(path), "text": f"text é {k}", "split": split})
    return pd.DataFrame(rows).assign(flow=[1.5, float("nan"), 0.0, 2.0])


def test_webdataset_shards_hold_every_clip_once_and_equal_bytes(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    files = export_webdataset(manifest, tmp_path / "a", Shards(2), "# Card\n")
    again = export_webdataset(manifest, tmp_path / "b", Shards(2), "# Card\n")
    assert [f.name for f in files] == [
        "train-000000.tar",
        "train-000001.tar",
        "validation-000000.tar",
    ]
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]
    with tarfile.open(files[0]) as archive:
        # everything before the first dot is the sample's key
        names = archive.getnames()
        assert names[:3] == ["a_b_0.mp4", "a_b_0.txt", "a_b_0.json"]
        second = archive.extractfile("a_b_1.json")
        assert second is not None
        assert json.load(second) == {
            "id": "a.b_1",
            "text": "text é 1",
            "split": "train",
            "flow": None,
        }
        video = archive.extractfile("a_b_1.mp4")
        assert video is not None
        assert video.read() == b"\x01" * 10


def test_texts_are_captions_as_people_wrote_them(manifest: pd.DataFrame, tmp_path: Path) -> None:
    """What comes back is what was there: a cleaned text has lost its capitals."""
    rows = manifest.assign(caption=["A Cat!", *[""] * (len(manifest) - 1)])
    (first, *_) = export_webdataset(rows, tmp_path / "a", Shards(10), "# Card\n")
    with tarfile.open(first) as archive:
        told = {name: archive.extractfile(name).read() for name in archive.getnames()}
    texts = sorted(data.decode() for name, data in told.items() if name.endswith(".txt"))
    assert "A Cat!" in texts
    assert any(text.startswith("text é") for text in texts)
    (table, *_) = map(pq.read_table, export_parquet(rows, tmp_path / "b", Shards(10), "# Card\n"))
    assert "A Cat!" in table.column("text").to_pylist()


def test_parquet_names_its_features_and_the_card_its_splits(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    files = export_parquet(manifest, tmp_path / "hub", Shards(10), "# Card\n")
    table = pq.read_table(files[0])
    assert table.column("video").to_pylist()[0] == {"bytes": b"\x00" * 10, "path": "a.b_0.mp4"}
    info = json.loads(table.schema.metadata[b"huggingface"])
    assert info["info"]["features"]["video"] == {"_type": "Video"}
    assert info["info"]["features"]["flow"] == {"dtype": "float64", "_type": "Value"}
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "path: data/validation-*.parquet" in card
    assert card.endswith("# Card\n")


def test_a_missing_clip_and_a_used_folder_are_errors(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    export_webdataset(manifest, tmp_path / "a", Shards(2), "# Card\n")
    with pytest.raises(TableError, match="holds files already"):
        export_webdataset(manifest, tmp_path / "a", Shards(2), "# Card\n")
    Path(manifest["path"][3]).unlink()
    with pytest.raises(TableError, match=r"clip3\.mp4: No such file"):
        export_webdataset(manifest, tmp_path / "c", Shards(2), "# Card\n")
    assert not list((tmp_path / "c").glob("train-000001*"))


def test_names_that_are_paths_or_shared_are_refused_before_anything_is_written(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    clips = [tmp_path / f"clip{k}.mp4" for k in range(4)]
    caption = tmp_path / "clip.TXT"
    caption.write_bytes(b"a film")
    cases = [
        ("split", "../../out", "split '../../out' can not name a file"),
        ("split", str(tmp_path / "out"), "split '/.* can not name a file"),
        ("split", "train\n", r"split 'train\\\\x0a' can not name"),
        ("split", "", "split '' can not name"),
        ("id", str(tmp_path / "out"), "id '/.* can not name a file"),
        ("id", "../out", "id '../out' can not name"),
        ("id", "a\\b", "can not name a file"),
        ("id", "a\u202eb", r"id 'a\\\\u202eb' can not name"),
        ("id", "é" * 101, "can not name a file; use a file name of at most 200 bytes"),
        ("id", "..", "can not name a file"),
        ("path", f"{clips[0]}x/a.m p4", "suffix of a clip '.m p4' can not name"),
        ("path", str(caption), "the clip of id 'a.b_3' ends in .TXT, the name of its caption"),
        ("id", "a_b_0", "ids 'a.b_0' and 'a_b_0' would both be named 'a_b_0'"),
        ("id", "a.b_0", "ids 'a.b_0' and 'a.b_0' would both be named"),
    ]
    exports = (
        lambda table, folder: export_webdataset(table, folder, Shards(2), ""),
        lambda table, folder: export_parquet(table, folder, Shards(2), ""),
    )
    for column, value, words in cases:
        wrong = manifest.copy()
        wrong.loc[3, column] = value
        for export in exports:
            out = tmp_path / "deep" / "out"
            if export is exports[1] and (value in ("a_b_0", str(caption))):
                continue  # ids keep their dots there, and captions stand in columns
            with pytest.raises(TableError, match=words):
                export(wrong, out)
            assert not out.parent.exists()
    assert sorted(tmp_path.iterdir()) == sorted([*clips, caption])


def test_a_shard_ends_where_its_clips_are_as_many_bytes_as_it_may_hold(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    files = export_webdataset(manifest, tmp_path / "a", Shards(num_bytes=25), "")
    assert [f.name for f in files] == [
        "train-000000.tar",
        "train-000001.tar",
        "validation-000000.tar",
    ]
    files = export_webdataset(manifest, tmp_path / "b", Shards(num_bytes=1), "")
    assert len(files) == len(manifest)  # a clip that is larger has its own


def test_without_bytes_the_table_names_the_clips_where_they_stand(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    files = export_parquet(manifest, tmp_path / "hub", Shards(), "", copy=False)
    table = pq.read_table(files[0])
    assert "video" not in table.column_names
    assert table.column("path").to_pylist() == [manifest["path"][k] for k in (0, 1, 3)]
    info = json.loads(table.schema.metadata[b"huggingface"])
    assert info["info"]["features"]["path"] == {"dtype": "string", "_type": "Value"}


def test_no_folder_of_this_machine_is_given_away(manifest: pd.DataFrame, tmp_path: Path) -> None:
    sources = [f"/home/me/films/{name}" for name in ("a/x.mp4", "a/x.mp4", "b/x.mp4", "y.mp4")]
    table = manifest.assign(source=sources)
    files = export_parquet(table, tmp_path / "hub", Shards(), "")
    files += export_webdataset(table, tmp_path / "tars", Shards(), "")
    for file in files:
        assert b"/home/me" not in file.read_bytes()
    assert pq.read_table(files[0]).column("source").to_pylist() == ["a/x.mp4", "a/x.mp4", "y.mp4"]
