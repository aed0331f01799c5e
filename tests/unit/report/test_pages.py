import json
import re
import zipfile
from xml.etree import ElementTree

import pandas as pd
import pytest

from opensora.core.io import write_json
from opensora.report.pages import DATA, FRAME, LIBRARIES, SECTIONS, STYLES, write_report
from opensora.report.script import packed, script
from tests.vendor import FOLDERS, SHIPPED, read_table, sha256

HOSTILE = "</script><script>\u2028\"'\\ \u202e\ud800 <!-- ]]>"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_libraries_are_those_of_their_table_with_a_licence_each(folder):
    table = {row["file"]: row["sha256"] for row in read_table(folder)}
    found = {str(p.relative_to(folder)): sha256(p) for p in folder.rglob("*.*") if p.is_file()}
    assert found.pop("table.csv")
    assert found == table
    licences = {row["package"] for row in read_table(folder) if "licences/" in row["file"]}
    assert licences == {row["package"] for row in read_table(folder)}


def test_the_page_loads_the_libraries_that_ship():
    assert {row["file"] for row in read_table(SHIPPED) if "/" not in row["file"]} == set(LIBRARIES)


def test_every_file_of_the_page_is_loaded():
    folder = SHIPPED.parent / "page"
    names = {path.name for path in folder.iterdir()} - {"index.html.j2"}
    own = {"browse.js", "browse.css"}  # of opensora browse: test_server.py
    assert names == {*FRAME, *SECTIONS, *STYLES, "start.js"} | own


def test_data_is_safe_in_a_script_and_stays_what_it_is():
    text = script("x", {"a": HOSTILE, "n": float("nan"), "s": pd.Series([1, 2]), "none": pd.NA})
    assert not re.search("[<>&\u2028\u2029\ud800]", text)
    value = json.loads(text.removeprefix('report.data["x"] = ').removesuffix(";\n"))
    assert value == {"a": HOSTILE, "n": None, "s": [1, 2], "none": None}
    assert packed({"a": [0.1, None]}) == packed({"a": [0.1, None]})


def test_the_report_is_one_page_and_one_folder(run_dir):
    page = run_dir / "report/index.html"
    said = write_report(run_dir, page, archive=run_dir / "all.zip")
    assert said.startswith(f"{page}: ")
    html = page.read_text(encoding="utf-8")
    assert "<script>" not in html
    linked = re.findall(r'(?:src|href)="(?!#|data:)([^"]+)"', html)
    files = {path for path in (page.parent / "index_files").rglob("*") if path.is_file()}
    for name in linked:
        assert (page.parent / name) in files
    data = {path.stem for path in files if path.parent.name == "data"}
    assert data <= {*DATA, "changes"}
    with zipfile.ZipFile(run_dir / "all.zip") as packed_files:
        assert {"index/index.html", "index/index_files/page/core.js"} <= set(
            packed_files.namelist()
        )


def test_what_changed_since_the_last_report_is_said_until_something_else_does(run_dir):
    def changes() -> list:
        write_report(run_dir, run_dir / "index.html")
        text = (run_dir / "index_files/data/changes.js").read_text(encoding="utf-8")
        found = json.loads(text.removeprefix('report.data["changes"] = ').removesuffix(";\n"))
        assert found["first"] == (not found["lines"])
        return found["lines"]

    assert changes() == []
    write_json(run_dir / "buckets/stage1/summary.json", {"hash": "f" * 64, "buckets": {}})
    expected = [{"name": "stage1: plan", "before": "", "now": "f" * 12}]
    assert changes() == expected
    assert changes() == expected


def test_equal_runs_give_equal_reports(run_dir):
    contents = []
    for name in ("a", "b"):
        write_report(run_dir, run_dir / name / "index.html")
        files = sorted(path for path in (run_dir / name).rglob("*") if path.is_file())
        contents.append([(path.relative_to(run_dir / name), path.read_bytes()) for path in files])
    assert contents[0] == contents[1]


def test_no_file_from_outside_the_run_gets_into_the_report(run_dir, tmp_path):
    (tmp_path / "secret.yaml").write_text("password: 12345678\n")
    (run_dir / "config.yaml").symlink_to(tmp_path / "secret.yaml")
    write_report(run_dir, run_dir / "index.html")
    for path in (run_dir / "index_files").rglob("*"):
        assert path.is_dir() or b"12345678" not in path.read_bytes()


def test_an_empty_run_has_a_page(tmp_path):
    write_report(tmp_path, tmp_path / "index.html")
    assert (tmp_path / "index_files/data/overview.js").is_file()


def test_pictures_stand_alone_in_folders_of_their_part(run_dir):
    write_report(run_dir, run_dir / "index.html", pictures=run_dir / "pictures")
    found = {str(p.relative_to(run_dir / "pictures")) for p in run_dir.rglob("*.svg")}
    assert {
        "Curation/footage_kept_and_lost.svg",
        "Curation/flow.svg",
        "Buckets/stage1_footage_seen.svg",
        "Training/stage1_loss.svg",
    } <= found
    for path in (run_dir / "pictures").rglob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert "var(" not in text
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
