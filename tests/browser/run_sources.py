"""The run of run_folder.py begun in other ways: with several sources, and with a table of clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from opensora.core.io import write_json, write_text
from opensora.core.seal import sealed
from opensora.curation.manifest.build_manifest import Manifest, StageTables, build_manifest
from opensora.curation.manifest.import_manifest import import_manifest
from opensora.curation.manifest.of_sources import read_ready
from opensora.curation.manifest.selection import Selection, SourceRules
from opensora.tables.columns import CAPTIONS, CLIPS, MANIFEST, REJECTED
from opensora.tables.io import write_table
from tests.browser.run_folder import HOSTILE, Made, make_run, write_tables

CUT = ("web", "film")  # sources of videos; those of the second have no score `match`
READY = "bought"  # a source that came as a table, with a score that the others lack
RULES = {
    "web": {"filters": {"flow": {"min": 0.3}}, "keep_if": []},
    "film": {"filters": {}, "keep_if": ["sharpness > 30"]},
    "bought": {"filters": {"aesthetic": {"min": 4.5}}, "keep_if": []},
}


def make_sources_run(root: Path) -> Made:
    """A run of three sources, one of which is a table of ready clips."""
    made = make_run(root, samples=2, stages=("stage1",))
    tables = _of_sources(made.tables)
    ready = made.run / "imported" / READY
    rows = _table(made.run, 16).assign(flow=np.linspace(0.1, 2, 16))
    _write_import(import_manifest(rows, source_name=READY, validation_fraction=0.2), ready)
    selection = Selection(
        max_distance=4, of_sources={name: SourceRules(**own) for name, own in RULES.items()}
    )
    built = build_manifest(tables, selection, validation_fraction=0.2, ready=[read_ready(ready)])
    write_tables(made.run, tables, built)
    own = [{"name": name, **rules} for name, rules in RULES.items()]
    config = {"layout": 2, "run": "tiny", "dedup": {"max_distance": 4}, "sources": own}
    write_text(made.run / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    return replace(made, tables=tables)


def make_imported_run(root: Path) -> Made:
    """A run whose clips came as one table: no stage but the import says anything of them."""
    made = make_run(root, samples=2, stages=("stage1",))
    for name in ("ingest", "scenes", "clips", "captions", "scores/flow", "scores/technical"):
        (made.run / name / "0000.parquet").unlink()
    (made.run / "scores/phash/0000.parquet").unlink()
    imported = import_manifest(_table(made.run, 24), validation_fraction=0.2)
    _write_import(imported, made.run)
    write_table(imported.clips, made.run / "clips/0000.parquet", CLIPS)
    write_table(imported.captions, made.run / "captions/0000.parquet", CAPTIONS)
    write_text(made.run / "config.yaml", "layout: 2\nrun: tiny\nmanifest: mine/table.csv\n")
    return made


def _of_sources(tables: StageTables) -> StageTables:
    """The same tables with every other video in another source, whose name begins its ids."""
    videos = tables.videos
    names = dict(zip(videos["id"], np.resize(np.array(CUT, object), len(videos)), strict=True))

    def named(table: pd.DataFrame) -> pd.DataFrame:
        places = [name for name in ("id", "video_id") if name in table]
        return table.assign(
            **{name: [f"{names[c.split('_')[0]]}_{c}" for c in table[name]] for name in places}
        )

    scores = {name: named(table) for name, table in tables.scores.items()}
    film = scores["technical"]["id"].str.startswith(CUT[1])
    scores["technical"]["match"] = scores["technical"]["match"].mask(film)
    return StageTables(
        named(videos).assign(source_name=videos["id"].map(names), sha256=videos["id"]),
        named(tables.scenes),
        named(tables.clips),
        named(tables.captions),
        scores,
    )


def _table(run: Path, count: int) -> pd.DataFrame:
    """A table of ready clips of hostile texts, three of a video; one has no caption."""
    number = np.arange(count)
    rows = pd.DataFrame({"id": [f"given{k:02d}" for k in number]})
    return rows.assign(
        path=[str(run / f"clips/{k % 3}.mp4") for k in number],
        text=["" if k == 5 else f"{HOSTILE[0]} number {k}" for k in number],
        source=[f"given/{k // 3} <b>.mp4" for k in number],
        start=number % 3 * 2.0,
        end=number % 3 * 2.0 + 2.0,
        **{"num_frames": 16, "fps": 8.0, "height": 32, "width": 32, "sha256": rows["id"]},
        licence=np.resize(np.array(["CC0-1.0", "CC-BY-4.0", ""], object), count),
        aesthetic=np.linspace(3.0, 7.0, count),
    )


def _write_import(made: Manifest, folder: Path) -> None:
    write_table(made.manifest, folder / "manifest/0000.parquet", MANIFEST)
    write_table(made.rejected, folder / "rejected.csv", REJECTED)
    write_json(folder / "funnel.json", sealed(made.funnel))
