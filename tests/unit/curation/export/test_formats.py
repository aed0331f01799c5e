import json
import tarfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from opensora.core.errors import TableError
from opensora.curation.export.formats import export_parquet, export_webdataset


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
    files = export_webdataset(manifest, tmp_path / "a", shard_size=2)
    again = export_webdataset(manifest, tmp_path / "b", shard_size=2)
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


def test_parquet_names_its_features_and_the_card_its_splits(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    files = export_parquet(manifest, tmp_path / "hub", 10, "# Card\n")
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
    export_webdataset(manifest, tmp_path / "a", shard_size=2)
    with pytest.raises(TableError, match="holds files already"):
        export_webdataset(manifest, tmp_path / "a", shard_size=2)
    Path(manifest["path"][3]).unlink()
    with pytest.raises(TableError, match=r"clip3\.mp4: No such file"):
        export_webdataset(manifest, tmp_path / "c", shard_size=2)
    assert not list((tmp_path / "c").glob("train-000001*"))
