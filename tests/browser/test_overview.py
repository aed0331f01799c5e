"""The overview in the browser: whether stages resume, what jobs took, what changed."""

import yaml

from opensora.core.io import write_text
from opensora.report.pages import write_report
from opensora.report.quantities import UNKNOWN
from tests.browser.conftest import watched
from tests.browser.run_folder import CHECKS, make_run


def rows_of(page, caption):
    """Cells of a table, row by row."""
    rows = page.page.locator(f"table:has(caption:has-text('{caption}')) tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def test_whether_a_stage_resumes_is_said_check_by_check(page):
    page.open()
    rows = {row[0]: row[-1] for row in rows_of(page, "whether they resume")}
    said = [f"{check.name}: {check.words}" for check in CHECKS]
    marks = ("✓ passed", "✗ failed", "not checked")
    assert rows["stage1"].split("\n") == [f"{m} {s}" for m, s in zip(marks, said, strict=True)]
    assert rows["stage1@4"] == UNKNOWN
    assert rows["stage2"] == "not checked; snakemake certify_all checks it"
    kinds = page.page.locator("tr:has-text('resume after') .chip")
    found = kinds.evaluate_all("all => all.map(one => one.className.trim())")
    assert found == ["chip good", "chip bad", "chip"]


def test_what_each_rule_and_stage_took_is_a_row_and_a_bar(page):
    page.open()
    memory = "2.0 GiB"
    assert rows_of(page, "benchmark files") == [
        ["ingest videos", UNKNOWN, "2.5 s", "2.5 s", "1", memory, "< 0.01", UNKNOWN],
        ["train", "stage1", "4 h", "2 h", "2", memory, UNKNOWN, "64"],  # with its milestone
        ["train", "stage2", "2 h", "2 h", "1", memory, UNKNOWN, "16"],
        ["sample", "stage1", "1 min", "30 s", "2", memory, "< 0.01", UNKNOWN],
        ["sample", "stage2", "30 s", "30 s", "1", memory, "< 0.01", UNKNOWN],
    ]
    bars = page.page.get_by_role("figure").filter(has_text="Wall time").first
    assert "train stage2" in bars.inner_text()
    tile = page.page.locator(".tile").filter(has_text="GPU hours")
    assert tile.locator(".value").inner_text() == "80"


def test_a_changed_setting_is_said_in_the_next_report(browser, tmp_path):
    made = make_run(tmp_path, stages=("stage1",))
    index, config = made.run / "report/index.html", made.run / "config.yaml"
    write_report(made.run, index)
    with watched(browser, made.run / "report") as page:
        page.open()
        assert page.page.get_by_text("This is the first one").is_visible()
    settings = yaml.safe_load(config.read_text())
    settings["filters"]["flow"]["min"] = 0.25
    write_text(config, yaml.safe_dump(settings))
    write_report(made.run, index)
    with watched(browser, made.run / "report") as page:
        page.open()
        assert rows_of(page, "are others") == [["config filters.flow.min", "0.2", "0.25"]]
