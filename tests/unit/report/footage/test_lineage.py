"""The clips of a run: where they come from, what is known of them, where they went."""

import base64
import gzip
import json

import pandas as pd

from opensora.core.io import read_json, write_json
from opensora.report.collect import collect
from opensora.report.footage import lineage as module
from opensora.report.footage.candidates import candidates, columns_of, even_part, ranges_of
from opensora.report.footage.lineage import lineage
from opensora.report.media import Media
from opensora.report.script import packed
from opensora.tables.columns import LEFT_OUT
from opensora.tables.io import write_table
from tests.browser.run_folder import make_run
from tests.browser.run_sources import RULES, make_imported_run, make_sources_run


def unpacked(text: str) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_clips_that_reached_the_rules_have_what_the_stages_said_of_them(tmp_path):
    made = make_run(tmp_path, clips=40, samples=2, stages=("stage1",))
    data = lineage(collect(made.run), Media(tmp_path / "media", "media"))
    last = read_json(made.run / "funnel.json")["stages"][-1]
    clips = unpacked(data["clips"])
    assert len(clips["id"]) == data["total"] == data["held"] == last["rows_in"]
    assert sum(split != "" for split in clips["#was"]) == last["rows_kept"]
    scores = made.tables.scores["technical"].set_index("id")["sharpness"]
    assert clips["sharpness"] == [scores[name] for name in clips["id"]]  # to the last digit
    assert data["ranges"]["sharpness"] == [min(clips["sharpness"]), max(clips["sharpness"])]
    assert (data["origin"], data["sources"]) == ("stages", {})


def test_clips_of_sources_are_those_that_were_cut_and_those_that_were_ready(tmp_path):
    made = make_sources_run(tmp_path)
    data = lineage(collect(made.run), Media(tmp_path / "media", "media"))
    last = read_json(made.run / "funnel.json")["stages"][-1]
    clips = unpacked(data["clips"])
    assert len(clips["id"]) == data["total"] == last["rows_in"]
    assert set(clips["source_name"]) == set(RULES) == set(data["sources"])
    assert "match" not in data["sources"]["film"]
    assert "aesthetic" not in data["sources"]["web"]
    assert {"aesthetic", "flow", "caption"} < set(data["sources"]["bought"])
    ready = clips["source_name"].index("bought")
    assert (clips["phash"][ready], clips["sharpness"][ready]) == ("", None)
    flags = dict(zip(clips["source_name"], clips["has_audio"], strict=True))
    assert flags == {"web": 1, "film": 1, "bought": None}
    assert "has_audio" in data["numbers"]


def test_without_tables_of_stages_the_clips_are_those_of_the_manifest(tmp_path):
    made = make_imported_run(tmp_path)
    run = collect(made.run)
    data = lineage(run, Media(tmp_path / "media", "media"))
    assert unpacked(data["clips"])["id"] == list(run.manifest["id"])
    assert unpacked(data["clips"])["seconds"] == [2.0] * len(run.manifest)
    assert (data["origin"], data["scores"]) == ("import", ["aesthetic"])
    other = make_run(tmp_path / "other", clips=20, samples=2, stages=("stage1",))
    (other.run / "captions/0000.parquet").unlink()
    data = lineage(collect(other.run), Media(tmp_path / "media", "media"))
    assert (data["origin"], data["held"]) == ("manifest", len(collect(other.run).manifest))


def test_scores_of_a_scorer_that_the_run_no_longer_has_are_left_out(tmp_path):
    made = make_run(tmp_path, clips=10, samples=2, stages=("stage1",))
    ids = pd.Index(made.tables.clips["id"])
    assert "phash" in candidates(made.run, ids)
    assert "phash" not in candidates(made.run, ids, ["flow", "technical"])


def test_a_page_holds_an_even_part_of_many_clips():
    ids = pd.Index([f"clip{k:03d}" for k in range(300)])
    assert even_part(ids, 300) is ids
    few = even_part(ids, 100)
    assert len(few) == 100
    assert set(few) == set(even_part(ids[::-1], 100)) < set(ids)
    assert 20 < sum(name < "clip100" for name in few) < 47


def test_columns_of_joined_sources_are_flags_numbers_and_texts():
    table = pd.DataFrame(
        {
            "flag": pd.Series([True, None, False], dtype=object),
            "number": pd.Series([1, None, 2.5], dtype=object),
            "text": ["a", None, "b"],
            "both": [1.5, "high", None],
            "none": pd.Series([None] * 3, dtype=object),
        }
    )
    columns = columns_of(table)
    assert ranges_of(columns) == {"flag": [0, 1], "number": [1, 2.5]}
    assert columns["text"].tolist() == ["a", "", "b"]
    assert columns["both"].tolist() == [1.5, "high", ""]
    assert columns["none"].tolist() == [""] * 3
    assert unpacked(packed(columns_of(table, empty=None)))["text"] == ["a", None, "b"]


def test_every_clip_says_its_bucket_of_each_stage_or_why_it_has_none(run_dir, monkeypatch):
    monkeypatch.setattr(module, "LOOKS", 2)
    run = collect(run_dir)
    clips = pd.concat([run.manifest.assign(id=f"c{k}") for k in range(4)], ignore_index=True)
    folder = run_dir / "buckets" / "stage1"
    for shard, names in (("0000", ["c0", "c1"]), ("0001", ["c2"])):
        pd.DataFrame({"id": names, "bucket": "16px|1|1.00"}).to_parquet(folder / f"{shard}.parquet")
    left_out = pd.DataFrame({"id": ["c1"], "reason": ["remainder"]})
    write_table(left_out, folder / "left_out.parquet", LEFT_OUT)
    write_json(folder / "summary.json", {"buckets": {}})
    run = collect(run_dir)
    object.__setattr__(run, "manifest", clips)
    data = lineage(run, Media(run_dir / "media", "media"))
    assert data["stages"] == ["stage1"]
    assert unpacked(data["buckets"]) == {
        "id": ["c0", "c1", "c2", "c3"],
        "in stage1": ["16px|1|1.00", "in no batch: remainder", "16px|1|1.00", ""],
    }
    assert len(data["looks"]) == 2
    assert set(data["looks"]) < set(clips["id"])
    assert {look["absent"] for look in data["looks"].values()} == {"file not found"}
    object.__setattr__(run, "manifest", clips.head(0))
    assert lineage(run, Media(run_dir / "media", "media")) is None
