"""`opensora bench export` writes every format of a made manifest; no clock is judged."""

import json
from pathlib import Path

from opensora.bench.data.export import FORMATS, bench_export, make_manifest
from opensora.cli.main import main
from opensora.tables.columns import MANIFEST


def test_the_manifest_is_one_and_the_same_in_every_run() -> None:
    manifest = make_manifest(200)
    assert set(MANIFEST.columns) <= set(manifest.columns)
    assert manifest["id"].is_unique
    assert manifest.equals(make_manifest(200))


def test_every_format_is_written_and_copied(tmp_path: Path, capsys) -> None:
    assert main(["bench", "export", "--rows", "100", "--json", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "a.json").read_text())
    assert set(found["formats"]) == set(FORMATS)
    assert all(figures["bytes"] > 5_000 for figures in found["formats"].values())
    assert "100 rows; the slowest format, " in said
    assert len(said.splitlines()) == 2 + len(FORMATS) + 1


def test_a_format_alone_can_be_timed() -> None:
    assert list(bench_export(100, ["csv"])["formats"]) == ["csv"]


def test_too_few_rows_are_refused(capsys) -> None:
    assert main(["bench", "export", "--rows", "1"]) == 2
    assert "--rows: expected a whole number of at least 100, not '1'" in capsys.readouterr().err
