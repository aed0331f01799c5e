"""What is browsed: runs, tables, folders of partitions, tables of others."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import ConfigError, OpenSoraError, TableError
from opensora.report.browse.page import packed_rows
from opensora.report.browse.rows import CORRECTIONS, choose_corrections, read_rows
from opensora.tables.manifest import read_manifest
from tests.browser.run_folder import Made, make_run
from tests.browser.run_sources import make_imported_run, make_sources_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_run(tmp_path_factory.mktemp("browse"))


def test_a_run_shows_all_clips_with_scores_and_reasons(made: Made) -> None:
    rows = read_rows(made.run)
    assert len(rows.table) == len(made.tables.clips)
    assert {"caption", "flow", "sharpness", "stage", "reason", "detail", "split"} <= set(rows.table)
    told = rows.table.set_index("id")
    rejected = pd.read_csv(made.run / "rejected.csv").set_index("id")
    gone = [name for name in told.index if name in rejected.index]
    assert (told.loc[gone, "reason"] == rejected.loc[gone, "reason"]).all()
    assert (told.loc[~told.index.isin(gone), "split"] != "").all()
    assert set(told.loc[gone, "split"]) == {""}
    assert rows.of_clips


def test_clips_of_sources_are_browsed_however_they_came(tmp_path: Path) -> None:
    made = make_sources_run(tmp_path)
    rows, ready = read_rows(made.run), read_manifest(made.run / "imported/bought/manifest")
    assert sorted(rows.table["id"]) == sorted([*made.tables.clips["id"], *ready["id"]])
    of_ready = rows.table["source_name"] == "bought"
    assert {"aesthetic_too_low", ""} == set(rows.table.loc[of_ready, "reason"])
    place = int(of_ready.to_numpy().argmax())
    assert rows.file(place) == Path(rows.table["path"][place])
    assert {"aesthetic", "sharpness", "has_audio"} <= set(packed_rows(rows)["numbers"])
    shutil.rmtree(made.run / "clips")
    shutil.rmtree(made.run / "captions")
    assert sorted(read_rows(made.run).table["id"]) == sorted(ready["id"])


def test_clips_of_a_table_are_browsed_though_no_video_was_cut(tmp_path: Path) -> None:
    made = make_imported_run(tmp_path)
    rows = read_rows(made.run)
    assert rows.of_clips
    assert set(rows.table["split"]) == {"train", "validation"}
    assert rows.table["caption"].str.contains("number").all()


TABLES = {
    **{f"{stage}/0000.parquet": True for stage in ("clips", "captions", "manifest")},
    **{"ingest/0000.parquet": False, "scenes/0000.parquet": False},
    **{"scores/flow": True, "manifest": True, "rejected.csv": True},
}


@pytest.mark.parametrize(("name", "of_clips"), TABLES.items())
def test_every_table_of_a_run_can_be_browsed(made: Made, name: str, of_clips: bool) -> None:
    rows = read_rows(made.run / name)
    assert len(rows.table) > 0
    assert rows.run is not None
    assert rows.run.samefile(made.run)
    assert rows.of_clips is of_clips


def test_a_row_speaks_of_a_part_of_its_source_or_of_its_own_file(made: Made) -> None:
    scenes, clips = read_rows(made.run / "scenes"), read_rows(made.run / "clips")
    assert scenes.are_parts().all()
    assert not clips.are_parts().any()
    clips.table.loc[0, "path"] = ""
    assert list(clips.are_parts()[:2]) == [True, False]
    assert clips.file(0) == made.run.parents[1] / clips.table["source"][0]
    assert clips.file(1) == Path(clips.table["path"][1])
    assert not read_rows(made.run / "captions").are_parts().any()
    assert read_rows(made.run / "captions").file(0) is None


def test_a_table_of_others_needs_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("video,cap\nx.mp4,hello\n")
    rows = read_rows(tmp_path / "a.csv")
    assert rows.table.to_dict("records") == [{"id": "x.mp4", "path": "x.mp4", "text": "hello"}]
    assert choose_corrections(rows.run, None) == CORRECTIONS
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="has no column 'id' and no column 'path'"):
        read_rows(tmp_path / "b.csv")
    with pytest.raises(OpenSoraError, match="no rows in"):
        read_rows(tmp_path)
    with pytest.raises(TableError, match="no such table"):
        read_rows(tmp_path / "c.csv")


def test_of_more_rows_than_a_page_holds_an_even_part_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opensora.report.browse.rows.LIMIT", 10)
    table = pd.DataFrame({"id": [f"clip{k}" for k in range(40)], "path": "x.mp4"})
    table.to_csv(tmp_path / "a.csv", index=False)
    rows = read_rows(tmp_path / "a.csv")
    assert (len(rows.table), rows.name) == (10, "a.csv, 10 of 40, an even part")
    assert rows.table["id"].is_unique


def test_a_run_without_captions_says_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    with pytest.raises(OpenSoraError, match="no clips with captions yet"):
        read_rows(tmp_path)


def test_the_config_of_the_run_names_the_file(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    config, project = made.run / "config.yaml", made.run.resolve().parents[1]
    before = config.read_text()
    try:
        assert choose_corrections(made.run, None) == CORRECTIONS
        config.write_text(before + "corrections: mine/others.csv\n")
        assert choose_corrections(made.run, None) == project / "mine/others.csv"
        assert choose_corrections(made.run, Path("a.csv")) == Path("a.csv")
        monkeypatch.chdir(project)
        assert choose_corrections(made.run, None) == Path("mine/others.csv")
        for outside in ("/etc/cron.d/x", "../x.csv", "mine/../../x.csv"):
            config.write_text(before + f"corrections: {outside}\n")
            with pytest.raises(ConfigError, match="outside of the project"):
                choose_corrections(made.run, None)
            assert choose_corrections(made.run, Path(outside)) == Path(outside)
        config.write_text("- {")
        assert choose_corrections(made.run, None) == CORRECTIONS
    finally:
        config.write_text(before)
