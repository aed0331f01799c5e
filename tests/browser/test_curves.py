"""Training and evaluation in the browser: every chart is drawn, a bar leads to its samples."""

import re
from unittest.mock import ANY

import pytest

from opensora.core.io import read_json, write_json
from opensora.evaluation.vbench import read_results, vbench_names
from opensora.report.pages import write_report
from opensora.tables.columns import SAMPLES
from opensora.tables.io import read_table
from tests.browser.conftest import watched
from tests.browser.run_folder import make_run


def test_every_curve_of_training_is_drawn_and_the_stage_filters(page):
    page.open("training")
    stages = "[...document.querySelectorAll('.stage')].map(one => one.dataset.stage)"
    assert page.page.evaluate(stages) == ["stage1", "stage2"]
    titles = page.page.locator("[data-stage=stage1] figcaption span:first-child").all_inner_texts()
    assert titles[:5] == [
        *("Loss", "Loss by noise", "Loss by size", "Held-out loss", "Gradient norm")
    ]
    assert {"Model FLOPs utilisation", "Peak memory, GB", "Tokens a second"} <= set(titles)
    page.until("document.querySelectorAll('.chart').length > 10")
    page.until("[...document.querySelectorAll('.chart')].every(one => one.querySelector('canvas'))")
    page.page.locator("#filter select").first.select_option("stage2")
    assert page.page.evaluate(stages) == ["stage2"]
    page.page.get_by_label("logarithmic losses").check()
    page.until("location.hash.includes('training.log=1')")
    page.page.wait_for_timeout(500)  # is drawn anew
    page.page.locator("[data-stage=stage2] .figure").first.get_by_text("as a table").click()
    figure = "document.querySelector('[data-stage=stage2] .figure')"
    page.until(f"{figure}.querySelectorAll('.scroll tbody tr').length === 12")


KINDS = ("scale", "whisker", "floor")


def test_a_milestone_of_training_leads_to_its_samples(page):
    page.open("training")
    page.page.get_by_role("link", name="step 4").click()
    page.page.locator(".sample").first.wait_for()
    at = page.page.locator(".sample").evaluate_all("all => all.map(one => one.dataset.sample)")
    assert {name.split("/")[0] for name in at} == {"stage1@4"}


def test_a_bar_of_measured_values_leads_to_its_samples(page):
    page.open("evaluation")
    cell = page.page.get_by_role("row").filter(has_text="clipsim: matched").locator("td").first
    assert re.fullmatch(r"0.250\s+0.150\s+0.350\s+0.200 to 0.300, n 8", cell.inner_text())
    bar = page.page.locator(".bars button").first
    count = int(bar.locator(".amount").inner_text())
    bar.click()
    page.page.locator(".sample").first.wait_for()
    assert page.page.locator(".sample").count() == count
    page.page.go_back()
    page.until("document.body.dataset.section === 'evaluation'")
    page.page.get_by_role("link", name="sample_0000_000").first.click()
    page.page.get_by_role("dialog").wait_for()


def test_differences_that_are_more_than_noise_are_marked(page):
    page.open("overview")
    page.page.evaluate(
        """() => {
          const line = { metric: "flow", before: "stage1", after: "stage2", prompts: 9 };
          report.data.evaluation.differences = [
            { ...line, mean: 0.2, low: 0.1, high: 0.3, is_noise: false },
            { ...line, mean: -0.1, low: -0.3, high: 0.1, is_noise: true },
            { ...line, mean: 0.2, low: 0.1, high: 0.3, is_noise: false, better: "lower" },
          ];
          report.go("evaluation");
        }"""
    )
    chips = page.page.locator("table:has(caption:has-text('between checkpoints')) .chip")
    assert chips.all_inner_texts() == ["rises", "within noise", "worse"]
    kinds = chips.evaluate_all("all => all.map(one => one.className.trim())")
    assert kinds == ["chip marked", "chip", "chip bad"]


def test_one_checkpoint_leaves_room_around_its_interval(browser, tmp_path):
    made = make_run(tmp_path, stages=("stage1",))
    file = made.run / "evaluation/stage1.json"
    content = read_json(file)
    values = {f"sample_{k // 2:04d}_{k % 2:03d}": 0.1 + 0.05 * k for k in range(8)}
    number = {"version": 2, "mean": 0.275, "low": 0.2, "high": 0.35, "count": 8}
    content["metrics"]["clipsim"] = {**number, "better": "higher", "samples": values}
    content["metrics"]["psnr"] = {**number, "mean": 30.0, "low": 28.0, "high": 32.0}
    write_json(file, content)
    write_report(made.run, made.run / "report/index.html")
    with watched(browser, made.run / "report") as page:
        page.open("evaluation")
        found = {}
        for row in page.page.locator("table:has(caption:has-text('Means')) tbody tr").all():
            line = {
                end: float(row.locator(f"svg .{kind}").get_attribute(end[:2]))
                for kind, end in (("whisker", "x1"), ("whisker", "x2"))
            }
            ends = row.locator("svg .end").evaluate_all("all => all.map(one => one.textContent)")
            found[row.locator("th").inner_text()] = (line["x1"], line["x2"], ends)
    # among the values of samples, 0.1 to 0.45; without any, in the middle half of the scale
    assert found["clipsim"] == (pytest.approx(47.4, abs=0.1), pytest.approx(112.6, abs=0.1), ANY)
    assert found["clipsim"][2] == ["0.100", "0.450"]
    assert found["psnr"] == (42.0, 118.0, ["26", "34"])


def test_a_floor_and_the_score_of_vbench_stand_beside_their_numbers(browser, tmp_path):
    made = make_run(tmp_path, stages=("stage1",))
    file = made.run / "evaluation/stage1.json"
    content = read_json(file)
    distance = {"version": 1, "mean": 1.5, "low": 1.2, "high": 1.8, "count": 400, "samples": {}}
    content["metrics"]["fvd"] = {**distance, "floor": {"value": 1.0, "count": 300}}
    samples = read_table(made.run / "samples/stage1/samples.csv", SAMPLES)
    names = sorted(vbench_names(samples).values())
    videos = [{"video_path": name, "video_results": 40.0 + k} for k, name in enumerate(names)]
    write_json(tmp_path / "a_eval_results.json", {"imaging_quality": [0.435, videos]})
    content["metrics"] |= read_results([tmp_path / "a_eval_results.json"], samples)
    write_json(file, content)
    write_report(made.run, made.run / "report/index.html")  # compared with nothing
    with watched(browser, made.run / "report") as page:
        page.open("evaluation")
        table = page.page.locator("table:has(caption:has-text('Means'))")
        fvd = table.get_by_role("row").filter(has_text="fvd")
        small = fvd.locator("small").all_inner_texts()
        assert small == ["1.20 to 1.80, n 400", "floor 1 (n 300)"]
        drawn = [float(fvd.locator(f"svg .{kind}").first.get_attribute("x1")) for kind in KINDS]
        start, low, floor = drawn  # below the interval, and not at the end of the scale
        assert start < floor < low
        quality = table.get_by_role("row").filter(has_text="vbench imaging quality")
        assert quality.locator("small").last.inner_text() == "VBench's score 0.435"
        assert quality.locator("svg .floor").count() == 0
        notes = page.page.locator(".card .note").all_inner_texts()
        assert [note.split()[0] for note in notes] == ["Floor,", "VBench's"]
