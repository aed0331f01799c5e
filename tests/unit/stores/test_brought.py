"""Clips of archives and fetched videos go when no run uses them, and not before."""

import json
from pathlib import Path

import pandas as pd
import pytest

from opensora.cli.main import EXIT_USER, main
from opensora.core.io import write_json
from opensora.tables.columns import FETCHED, MANIFEST
from opensora.tables.io import read_table, write_table
from tests.results_folder import age


def sweep(results: Path, *words: str) -> int:
    return main(["doctor", "--sweep", str(results), *words])


def unpacked(store: Path, name: str, digests: list[str]) -> list[Path]:
    """An archive that was read: its clips, and the note of its rows."""
    clips = [store / "unpacked" / digest[:2] / f"{digest}.mp4" for digest in digests]
    for path in clips:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    note = store / "unpacked/archives" / f"{name}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"path": str(path), "sha256": path.stem} for path in clips]
    write_json(note, [*rows, {"path": "shard.tar/broken", "sha256": ""}])
    return [*clips, note]


def test_an_archive_of_which_a_run_names_one_clip_stays_whole(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = results / "store"
    used = unpacked(store, "used", ["ab" * 32, "cd" * 32])
    gone = unpacked(store, "gone", ["ef" * 32, "0a" * 32])
    cut = store / "unpacked/archives/cut.json"
    cut.write_text('[{"path": ')
    manifest = read_table(results / "one/manifest/0000.parquet", MANIFEST)
    manifest.loc[0, "path"] = str(used[0])
    (results / "one/imported/web/manifest").mkdir(parents=True)
    write_table(manifest, results / "one/imported/web/manifest/0000.parquet", MANIFEST)
    age(results, hours=2)
    fresh = unpacked(store, "fresh", ["77" * 32])
    assert sweep(results) == 0
    said = capsys.readouterr().out
    assert "unpacked: 4 files" in said
    assert "2 younger than an hour stay" in said
    assert all(path.is_file() for path in (*used, *gone, *fresh, cut))
    assert sweep(results, "--yes") == 0
    assert all(path.is_file() for path in (*used, *fresh))
    assert not any(path.exists() for path in (*gone, cut))
    assert json.loads(used[-1].read_text())[0]["path"] == str(used[0])


def test_a_fetched_video_stays_while_a_table_names_it(results: Path) -> None:
    folder = results / "store/fetched/far"
    folder.mkdir(parents=True)
    for name in ("a-1.mp4", "b-2.mp4", ".fetched.jsonl"):
        (folder / name).write_bytes(b"film")
    part = folder / ".c-3.mp4.part"
    part.write_bytes(b"fi")
    row = {"path": "../../store/fetched/far/a-1.mp4", "bytes": 4, "status": "ok"}
    table = pd.DataFrame([row]).reindex(columns=[*FETCHED.columns]).fillna("")
    place = results / "two/fetched/far.parquet"
    place.parent.mkdir()
    write_table(table.assign(bytes=4), place, FETCHED)
    age(results, hours=2)
    age(part, hours=50)
    assert sweep(results, "--yes") == 0
    assert sorted(path.name for path in folder.iterdir()) == [".fetched.jsonl", "a-1.mp4"]
    place.write_bytes(b"no table")
    assert sweep(results) == EXIT_USER
    place.unlink()
    place.parent.rmdir()
    age(results, hours=2)
    assert sweep(results, "--yes") == 0
    assert [path.name for path in folder.iterdir()] == [".fetched.jsonl"]


def test_a_table_that_a_stopped_job_lost_frees_nothing(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = results / "one/config.yaml"
    told = "layout: 2\nnum_shards: 2\nsources: [{name: far, fetch: {list: far.csv}}]\n"
    config.write_text(told)
    (results / "one/fetched").mkdir()
    assert sweep(results, "--yes") == EXIT_USER
    assert "run one lacks" in capsys.readouterr().err
