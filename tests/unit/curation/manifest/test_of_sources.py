"""Several sources in one manifest: own rules, ready clips, videos that two of them have."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opensora.cli.main import EXIT_USER, main
from opensora.core.errors import ConfigError, TableError
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.manifest.build_manifest import build_manifest
from opensora.curation.manifest.data_card import data_card
from opensora.curation.manifest.groups import assign_splits
from opensora.curation.manifest.ledger import check_ledger
from opensora.curation.manifest.of_sources import mark_known_videos, names_in, read_ready
from opensora.curation.manifest.selection import Selection, SourceRules, select
from opensora.media.encode import write_video
from opensora.tables.columns import REJECTED
from opensora.tables.corrections import Correction
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest


def write_clips(folder: Path, count: int, shade: int = 0) -> None:
    folder.mkdir()
    for k in range(count):
        write_video(folder / f"{k}.mp4", np.full((8 + k, 16, 16, 3), shade + 20 * k, np.uint8), 8)
        (folder / f"{k}.txt").write_text(f"shade {k}")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """What import-manifest makes of a source of ready clips, one of which has no caption."""
    write_clips(tmp_path / "clips", 4)
    (tmp_path / "clips/3.txt").unlink()
    folder = tmp_path / "own"
    words = [
        *("import-manifest", str(tmp_path / "clips"), "--format", "folder"),
        *("--source-name", "own", "--licence", "CC0", "--num-shards", "2"),
        *("--manifest", str(folder / "manifest"), "--rejected", str(folder / "rejected.csv")),
        *("--funnel", str(folder / "funnel.json")),
    ]
    assert main(words) == 0
    return folder


def candidates() -> pd.DataFrame:
    rows = [("web_a", "web", 1.0), ("web_b", "web", 6.0), ("own_a", "own", 1.0), ("x_a", "x", 1.0)]
    frame = pd.DataFrame(rows, columns=["id", "source_name", "flow"])
    extra = {"status": "ok", "detail": "", "kind": "video", "resolution": 1, "num_frames": 8}
    return frame.assign(video_id=frame["id"], licence="", **extra)


def kept(selection: Selection) -> list[str]:
    marked, _ = select(candidates(), selection)
    return marked["id"][marked["status"] == "ok"].tolist()


def test_a_source_has_its_own_bounds_and_conditions_in_place_of_the_runs():
    bound = {"flow": {"min": 5}}
    assert kept(Selection(filters=bound)) == ["web_b"]
    rules = {"web": SourceRules(filters=bound), "own": SourceRules(keep_if=["flow < 5"])}
    assert kept(Selection(of_sources=rules)) == ["web_b", "own_a", "x_a"]
    assert kept(Selection(filters=bound, of_sources=rules)) == ["web_b", "own_a"]


def test_a_bound_on_a_column_that_only_another_source_has_names_the_source():
    table = candidates()
    table["aes"] = [5.0, 5.0, np.nan, np.nan]
    rules = {"own": SourceRules(filters={"aes": {"min": 4}})}
    with pytest.raises(ConfigError, match="source own: filters: there is no number column 'aes'"):
        select(table, Selection(of_sources=rules))


def test_each_source_holds_out_its_own_share():
    videos = pd.Series([f"v{k}" for k in range(400)])
    shares = np.array([0.0, 0.5] * 200)
    groups = np.arange(400)
    split = assign_splits(videos, groups, validation_fraction=shares, test_fraction=0.0)
    assert set(split[::2]) == {"train"}
    assert 70 < (split[1::2] == "validation").sum() < 130
    alone = assign_splits(videos[1::2], groups[1::2], validation_fraction=0.5, test_fraction=0.0)
    assert (split[1::2] == alone).all()


def test_a_video_of_two_sources_belongs_to_the_first():
    videos = pd.DataFrame(
        {
            **{"id": ["a_1", "b_1", "b_2"], "path": ["a/1", "b/1", "b/2"]},
            **{"sha256": ["0", "0", "1"], "source_name": ["a", "b", "b"]},
            **{"status": "ok", "detail": ""},
        }
    )
    marked = mark_known_videos(videos)
    assert marked["status"].tolist() == ["ok", "duplicate", "ok"]
    assert marked["detail"][1] == "same bytes as a/1 of the source a, which is kept"
    assert mark_known_videos(videos.iloc[1:]).equals(videos.iloc[1:])


def test_ids_tell_their_source():
    ids = pd.Series(["a_x-1_0000", "b-c_x", "other", "d_x"])
    assert names_in(ids, ["a", "b-c"]).tolist() == ["a", "b-c", "", ""]


def test_videos_of_a_source_have_its_name_and_licence(tmp_path: Path):
    write_clips(tmp_path / "clips", 2)
    (tmp_path / "list.csv").write_text("path,licence\nclips/0.mp4,CC-BY\nclips/1.mp4,\n")
    (tmp_path / "again.mp4").write_bytes((tmp_path / "clips/0.mp4").read_bytes())
    names = [tmp_path / "list.csv", tmp_path / "again.mp4"]
    plain = ingest_videos(names)
    named = ingest_videos(names, source_name="web", licence="CC0")
    assert named["id"].tolist() == [f"web_{name}" for name in plain["id"]]
    assert set(named["source_name"]) == {"web"}
    assert "source_name" not in plain
    assert named["licence"].tolist() == ["CC-BY", "CC0", "CC0"]
    assert named["status"].tolist() == ["ok", "ok", "duplicate"]


def test_corrections_of_ready_clips_are_not_unknown_where_sources_join(own: Path):
    ready = read_ready(own)
    left_out = str(ready.rejected["id"].iloc[0])
    given = {name: Correction(name, "x") for name in (ready.clips["id"].iloc[0], left_out, "web_a")}
    built = build_manifest(
        None, Selection(), validation_fraction=0.0, ready=[ready], corrections=given
    )
    assert built.funnel["corrections"]["unknown"] == ["web_a"]


def test_ready_clips_alone_are_a_manifest(own: Path):
    ready = read_ready(own)
    assert ready.num_shards == 2
    built = build_manifest(None, Selection(), validation_fraction=0.5, ready=[ready])
    assert built.manifest["source_name"].tolist() == ["own"] * 3
    assert set(built.manifest["split"]) == {"train"}  # as the import drew
    assert built.rejected[["source_name", "reason"]].to_numpy().tolist() == [["own", "no_caption"]]
    for stage in built.funnel["stages"]:
        check_ledger(stage)
    assert [stage["rows_in"] for stage in built.funnel["stages"]] == [4, 3]
    rules = {"own": SourceRules(filters={"num_frames": {"min": 9}})}
    selection = Selection(of_sources=rules)
    built = build_manifest(None, selection, validation_fraction=0.0, ready=[ready])
    assert sorted(built.manifest["num_frames"]) == [9, 10]  # ids are made of paths
    card = data_card(built.manifest, built.funnel, selection, [])
    assert "| own | 2 |" in card
    assert "filters of own" in card
    none = Selection(of_sources={"own": SourceRules(filters={"num_frames": {"min": 99}})})
    with pytest.raises(TableError, match=r"no ready clip is left.*num_frames_too_low"):
        build_manifest(None, none, validation_fraction=0.0, ready=[ready])


def test_the_command_joins_them_behind_the_shards_of_videos(own: Path, tmp_path: Path):
    words = [
        *("build-manifest", "--imported", str(own), "--manifest", str(tmp_path / "manifest")),
        *("--rejected", str(tmp_path / "rejected.csv"), "--funnel", str(tmp_path / "funnel.json")),
    ]
    assert main([*words, "--sources", '{"own": {"filters": {"num_frames": {"min": 9}}}}']) == 0
    manifest = read_manifest(tmp_path / "manifest")
    assert len(manifest) == 2
    assert set(manifest["shard"]) <= {0, 1}
    rejected = read_table(tmp_path / "rejected.csv", REJECTED)
    assert rejected["reason"].tolist() == ["no_caption", "num_frames_too_low"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--sources", "["], "--sources: expected JSON"),
        (["--sources", '{"own": 1}'], "--sources: own: expected an object"),
        (["--sources", '{"own": {"filter": {}}}'], "unknown field 'filter'; did you mean"),
        (["--clips", "x.csv"], "--videos, --scenes, --captions: needed"),
    ],
)
def test_a_wrong_option_is_one_sentence(words, sentence, own, tmp_path, caplog, capsys):
    given = [
        *("build-manifest", "--imported", str(own), "--manifest", str(tmp_path / "manifest")),
        *("--rejected", str(tmp_path / "rejected.csv"), "--funnel", str(tmp_path / "funnel.json")),
    ]
    with caplog.at_level(logging.CRITICAL):
        assert main([*given, *words]) == EXIT_USER
    assert sentence in capsys.readouterr().err


def test_an_import_without_a_name_is_no_source(tmp_path: Path):
    write_clips(tmp_path / "clips", 2)
    folder = tmp_path / "own"
    words = [
        *("import-manifest", str(tmp_path / "clips"), "--manifest", str(folder / "manifest")),
        *("--rejected", str(folder / "rejected.csv"), "--funnel", str(folder / "funnel.json")),
    ]
    assert main(words) == 0
    with pytest.raises(TableError, match="its clips have no source_name"):
        read_ready(folder)
    (folder / "funnel.json").unlink()
    with pytest.raises(TableError):
        read_ready(folder)
