"""Where clips went: buckets of every stage, reasons, a look at some."""

import base64
import gzip
import json

import pandas as pd

from opensora.core.io import write_json
from opensora.report.collect import collect
from opensora.report.footage import lineage as module
from opensora.report.footage.lineage import lineage
from opensora.report.media import Media
from opensora.tables.columns import LEFT_OUT
from opensora.tables.io import write_table


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
    assert json.loads(gzip.decompress(base64.b64decode(data["buckets"]))) == {
        "id": ["c0", "c1", "c2", "c3"],
        "in stage1": ["16px|1|1.00", "in no batch: remainder", "16px|1|1.00", ""],
    }
    assert len(data["looks"]) == 2
    assert set(data["looks"]) < set(clips["id"])
    assert {look["absent"] for look in data["looks"].values()} == {"file not found"}
    object.__setattr__(run, "manifest", clips.head(0))
    assert lineage(run, Media(run_dir / "media", "media")) is None
