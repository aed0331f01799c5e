"""Thresholds of the page: what it says stays is what build_manifest keeps with the printed YAML."""

import json
import random
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from opensora.cli.main import EXIT_USER, main
from opensora.config.run_sources import rules_of_sources
from opensora.core.io import read_json
from opensora.dag.settings import check_workflow_config
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest
from tests.browser.conftest import watched
from tests.browser.run_sources import CUT, READY, RULES

CONDITIONS = (
    "flow > 0.3 or kind == 'image'",
    "licence in ('CC0-1.0', 'CC-BY-4.0') or sharpness / 2 + flow >= 20",
    "video_id not in ['video00002', \"video00003\", 'film_video00001']",
    "text_len * -1 < -1 and has_audio == 1",
    "not (height < 64 and match <= 0.25)",
    "0.2 < match < 0.38",
)
OF_READY = ("aesthetic > 4 or licence == ''", "kind == 'video' and seconds >= 2", "flow * 2 < 3.5")
# of the run, or of a source: scores with histograms, and conditions that speak of its columns
PARTS = {
    None: (("flow", "sharpness", "match"), CONDITIONS),
    CUT[0]: (("flow", "sharpness", "match"), CONDITIONS),
    CUT[1]: (("flow", "sharpness"), CONDITIONS[:4]),
    READY: (("flow", "aesthetic"), OF_READY),
}
LOW = {"flow": (0.0, 0.4), "sharpness": (10, 45), "match": (0.2, 0.26), "aesthetic": (3, 5)}
HIGH = {"flow": (0.8, 2.0), "sharpness": (60, 90), "match": (0.3, 0.4), "aesthetic": (5.5, 6.8)}
LICENCES = ("CC0-1.0", "CC-BY-4.0", "")
SCHEMA = Path(__file__).parents[2] / "workflow/schemas/config.schema.yaml"
_DRAWN_MS = 300  # the page draws a moment after a change, as nobody's hand is faster


def drawn_own(rng: random.Random, part: str | None) -> dict:
    """Bounds and conditions as a person would make them."""
    scores, conditions = PARTS[part]
    typed = {}
    for name in rng.sample(scores, rng.randint(1, 2)):
        if rng.random() < 0.8:
            typed[f"{name}, at least"] = rng.uniform(*LOW[name])
        if rng.random() < 0.5:
            typed[f"{name}, at most"] = rng.uniform(*HIGH[name])
    keep_if = rng.sample(conditions, rng.randint(0, 2))
    dragged = (scores[1], rng.uniform(0.02, 0.4))
    return {"typed": typed, "keep_if": keep_if, "dragged": dragged}


def drawn_common(rng: random.Random) -> dict:
    """The other rules."""
    return {
        "licences": rng.sample(LICENCES, rng.randint(0, 2)),
        "max_distance": rng.choice([None, 0, 3, 6, 17]),
        "cap": rng.choice([None, 1, 3]),
        "prefer": rng.choice(["", "sharpness", "match"]),
    }


def apply_own(page, rules: dict) -> None:
    """Set bounds and conditions by their controls; one threshold is dragged with the mouse."""
    for label, value in rules["typed"].items():
        page.get_by_label(label, exact=True).fill(repr(value))
        page.get_by_label(label, exact=True).press("Tab")
    page.get_by_label("conditions (keep_if)").fill("\n".join(rules["keep_if"]))
    page.get_by_label("conditions (keep_if)").press("Tab")
    page.wait_for_timeout(_DRAWN_MS)
    name, share = rules["dragged"]
    handle = page.get_by_role("slider", name=f"{name}, lower threshold")
    handle.evaluate("one => one.scrollIntoView({block: 'center'})")  # from under what is sticky
    page.wait_for_timeout(_DRAWN_MS)
    box = handle.bounding_box()
    width = page.locator(".stage", has=handle).bounding_box()["width"]
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + share * width / 3, middle[1], steps=4)
    page.mouse.up()
    page.wait_for_timeout(_DRAWN_MS)


def apply_common(page, rules: dict) -> None:
    distance = rules["max_distance"]
    page.get_by_label("near-duplicates").fill("" if distance is None else str(distance))
    page.get_by_label("clips of a source at most").fill(str(rules["cap"] or ""))
    page.get_by_label("clips of a source at most").press("Tab")
    page.get_by_label("preferred among").select_option(rules["prefer"])
    for name in rules["licences"]:
        page.get_by_label(name or "(none known)", exact=True).check()


def printed(page) -> str:
    """A config of the workflow with what the page prints pasted into it."""
    lines = "run: x\nstages: [{name: one, config: a.py}]\nscorers: [flow, technical, phash]\n"
    if not page.locator("[data-source]").count():
        return f"{lines}demo: {{num_videos: 1}}\n{page.locator('.copy .command').inner_text()}"
    lines += "sample: {prompts: mine/prompts.txt}\nsources:\n"
    for name, rules in RULES.items():
        place = f"manifest: {SCHEMA}" if name == READY else f"videos: [{SCHEMA.parent}]"
        lines += f"  - name: {name}\n    {place}\n"
        own = page.locator(f"[data-source={name}] .command")
        given = "".join(f"    {field}: {json.dumps(value)}\n" for field, value in rules.items())
        lines += own.inner_text() if own.count() else given
    return lines + page.locator("div:not([data-source]) > .copy .command").inner_text()


def kept_by_the_pipeline(run: Path, text: str, folder: Path) -> tuple[list[str], float]:
    """Ids and seconds of what the rule build_manifest would keep; none where nothing is left."""
    config = yaml.safe_load(text)
    check_workflow_config(config, SCHEMA)
    options = {name: config[name] for name in ("keep_if", "licences", "max_clips_per_source")}
    options |= {"prefer": config["prefer"], "max_distance": config["dedup"]["max_distance"]}
    options |= {name: str(run / f"{name}/0000.parquet") for name in ("scenes", "clips", "captions")}
    options |= {"videos": str(run / "ingest/0000.parquet"), "validation_fraction": 0}
    scores = [f"{name}={run}/scores/{name}/0000.parquet" for name in config["scorers"]]
    options |= {"scores": scores, "filters": json.dumps(config["filters"])}
    if config["sources"]:
        options["imported"] = str(run / "imported" / READY)
        options["sources"] = json.dumps(rules_of_sources(config))
    outputs = {name: folder / name for name in ("manifest", "funnel", "rejected.csv")}
    options |= {name.partition(".")[0]: str(path) for name, path in outputs.items()}
    words = ["build-manifest"]
    for name, value in options.items():
        if value not in (None, []):
            several = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, several)]
    code = main(words)
    assert code in (0, EXIT_USER)
    if code == EXIT_USER:
        return [], 0.0
    kept = read_json(outputs["funnel"])["kept"]
    return sorted(read_manifest(outputs["manifest"])["id"]), kept["seconds"]


def compare(page, run: Path, folder: Path) -> list[str]:
    """Ids that the page keeps, which must be those of the pipeline, with their seconds."""
    found = page.evaluate("report.kept()")
    text, result = printed(page), page.locator(".result")
    ids, seconds = kept_by_the_pipeline(run, text, folder)
    assert sorted(found) == ids, text
    assert result.get_attribute("data-kept") == str(len(ids))
    assert float(result.get_attribute("data-seconds")) == pytest.approx(seconds, abs=1e-6)
    return found


def test_the_printed_rules_keep_the_clips_that_the_page_keeps(page, made, tmp_path):
    page.open("curation")
    page.page.wait_for_selector("body[data-clips]")
    before = page.page.evaluate("report.kept()")
    for seed in range(10):
        rng = random.Random(seed)
        page.page.get_by_role("button", name="As in this run").click()
        assert page.page.evaluate("report.kept()") == before
        apply_common(page.page, drawn_common(rng))
        apply_own(page.page, drawn_own(rng, None))
        found = compare(page.page, made.run, tmp_path / str(seed))
        assert found != before
    page.page.reload()
    page.page.wait_for_selector("body[data-clips]")
    assert page.page.evaluate("report.kept()") == found  # the address keeps the rules


def test_each_source_has_rules_of_its_own(browser, of_sources, tmp_path):
    with watched(browser, of_sources.run / "report") as opened:
        page = opened.page
        opened.open("curation")
        page.wait_for_selector("body[data-clips]")
        before = compare(page, of_sources.run, tmp_path / "before")
        assert sorted(before) == sorted(read_manifest(of_sources.run / "manifest")["id"])
        for seed in range(10):
            rng = random.Random(seed)
            page.get_by_role("button", name="As in this run").click()
            assert page.evaluate("report.kept()") == before
            apply_common(page, drawn_common(rng))
            for name in rng.sample(list(RULES), 2):
                page.get_by_label("bounds and conditions of the source").select_option(name)
                apply_own(page, drawn_own(rng, name))
            found = compare(page, of_sources.run, tmp_path / str(seed))
            assert found != before
        page.reload()
        page.wait_for_selector("body[data-clips]")
        assert page.evaluate("report.kept()") == found


def test_a_source_knows_no_column_that_only_others_have(browser, of_sources):
    with watched(browser, of_sources.run / "report") as opened:
        page = opened.page
        opened.open(f"curation&curation.source={CUT[1]}")
        page.wait_for_selector("body[data-clips]")
        titles = page.locator("#section-curation figure:has(.handle) figcaption span")
        assert titles.all_inner_texts() == ["flow", "sharpness"]
        page.get_by_label("conditions (keep_if)").fill("match > 0.2")
        page.get_by_label("conditions (keep_if)").press("Tab")
        said = page.get_by_role("alert").inner_text()
        assert said.startswith(f"source {CUT[1]}: keep_if")
        assert "there is no column “match” on this page" in said
        page.get_by_label("bounds and conditions of the source").select_option(CUT[0])
        assert page.get_by_role("slider", name="match, lower threshold").is_visible()


def test_a_table_that_was_imported_has_no_thresholds_and_the_page_says_why(browser, imported):
    with watched(browser, imported.run / "report") as opened:
        opened.open("curation")
        said = opened.page.locator("#section-curation .absent").inner_text()
        assert "the clips came as a table (manifest: in the config)" in said
        assert opened.page.locator(".handle").count() == 0
        rejected = opened.page.get_by_role("button", name="look at no caption")
        rejected.click()
        assert "its text is empty" in opened.page.locator(".look").inner_text()


def test_the_page_opens_with_the_rules_of_the_run(page, made):
    page.open("curation")
    page.page.wait_for_selector("body[data-clips]")
    kept = made.run / "manifest.csv"
    assert not kept.exists()
    words = page.page.locator(".result").inner_text()
    number = page.page.locator(".result").get_attribute("data-kept")
    assert words.endswith(f"this run kept {number}.")
    printed = yaml.safe_load(page.page.locator(".copy .command").inner_text())
    assert printed["filters"] == {"flow": {"min": 0.2}}
    assert printed["dedup"] == {"max_distance": 4}


def test_a_condition_that_can_not_be_read_is_said(page):
    page.open("curation")
    page.page.wait_for_selector("body[data-clips]")
    for condition, said in (
        ("flow >", "a column or a number is missing"),
        ("flow", "a comparison is missing"),
        ("flow > 'a'", "text and numbers do not compare"),
        ("nothing > 1", "there is no column “nothing” on this page"),
        ("(" * 200 + "flow", "“)” is missing"),
        ("flow > 2 3", "“3” can not stand there"),
    ):
        page.page.get_by_label("conditions (keep_if)").fill(condition)
        page.page.get_by_label("conditions (keep_if)").press("Tab")
        assert said in page.page.get_by_role("alert").inner_text()
        assert page.page.locator(".copy .command").count() == 0


def test_rules_of_a_strange_address_are_cleaned(page):
    strange = '{"filters":{"flow":5,"match":{"min":"x"}},"keep_if":7,"licences":{},"dedup":null}'
    page.open(f"curation&curation.rules={quote(strange)}")
    page.page.wait_for_selector("body[data-clips]")
    printed = yaml.safe_load(page.page.locator(".copy .command").inner_text())
    assert (printed["filters"], printed["keep_if"], printed["licences"]) == ({}, [], [])


def test_rules_of_strange_sources_are_cleaned(browser, of_sources):
    strange = '{"sources":{"web":5,"film":{"filters":[1],"keep_if":"a"},"x":{},"__proto__":{}}}'
    with watched(browser, of_sources.run / "report") as opened:
        opened.open(f"curation&curation.source=x&curation.rules={quote(strange)}")
        opened.page.wait_for_selector("body[data-clips]")
        config = yaml.safe_load(printed(opened.page))
        rules = {one["name"]: (one["filters"], one["keep_if"]) for one in config["sources"]}
        assert rules == {
            "web": ({}, []),
            "film": ({}, []),
            "bought": tuple(RULES["bought"].values()),
        }


def test_thresholds_move_by_the_keyboard_and_bars_list_their_clips(page):
    page.open("curation")
    page.page.wait_for_selector("body[data-clips]")
    handle = page.page.get_by_role("slider", name="match, lower threshold")
    handle.focus()
    handle.press("PageUp")
    first = float(handle.get_attribute("aria-valuenow"))
    handle.press("ArrowRight")
    assert float(handle.get_attribute("aria-valuenow")) > first
    handle.press("Delete")
    assert handle.get_attribute("aria-valuetext") == "no bound"
    bar = page.page.locator("figure", has=handle).locator(".hit").nth(20)
    number = int(bar.evaluate("node => node.textContent.split(' of ')[1].split(' ')[0]"))
    bar.click()
    assert page.page.locator("[data-rows]").get_attribute("data-rows") == str(number)


def test_the_drawing_has_every_reason_of_the_funnel_and_each_leads_to_its_examples(page, made):
    page.open("curation")
    stages = read_json(made.run / "funnel.json")["stages"]
    lost = [(one["stage"], name, n) for one in stages for name, n in one["reasons"].items()]
    drawing = page.page.get_by_role("group", name="Footage kept and lost at each stage")
    titles = drawing.locator(".reason title").evaluate_all("all => all.map(one => one.textContent)")
    said = {tuple(title.replace(": ", " \u00b7 ").split(" \u00b7 ")[::2]) for title in titles}
    rows = [(name.replace("_", " "), n["rows"]) for _, name, n in lost]
    assert said == {(name, f"{n} row{'s' * (n > 1)}") for name, n in rows}
    rejected = read_table(made.run / "rejected.csv")
    head = page.page.locator(".look h3")
    ways = ["Enter", "Space", None]  # None is the mouse
    for (stage, reason, _), way in zip(lost, ways * len(lost), strict=False):
        name = reason.replace("_", " ")
        button = drawing.get_by_role("button", name=f"{name}:")
        button.press(way) if way else button.click()
        head.get_by_text(name).wait_for()
        assert f"in {stage.replace('_', ' ')}" in head.inner_text()
        ids = rejected.query("stage == @stage and reason == @reason")["id"]
        shown = page.page.locator(".look tbody th").all_inner_texts()
        assert shown == list(ids)[:20] != []
        assert page.page.locator(".look figure").count() > 0


def test_a_reason_shows_its_examples_and_they_play(page):
    page.open("curation")
    page.page.get_by_role("button", name="look at flow too low").click()
    video = page.page.locator(".look video").first
    video.evaluate("node => node.play()")
    page.page.wait_for_function("() => document.querySelector('.look video').currentTime > 0.2")
    assert "is below the minimum 0.2" in page.page.locator(".look").inner_text()
