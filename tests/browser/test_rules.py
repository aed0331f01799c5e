"""Thresholds of the page: what it says stays is what build_manifest keeps with the printed YAML."""

import random
from urllib.parse import quote

import yaml

from opensora.core.errors import TableError
from opensora.curation.manifest.build_manifest import build_manifest
from opensora.curation.manifest.selection import Selection

CONDITIONS = (
    "flow > 0.3 or kind == 'image'",
    "not (height < 64 and match <= 0.25)",
    "0.2 < match < 0.38",
    "licence in ('CC0-1.0', 'CC-BY-4.0') or sharpness / 2 + flow >= 20",
    "video_id not in ['video00002', \"video00003\"]",
    "text_len * -1 < -1 and has_audio == 1",
)
_DRAWN_MS = 300  # the page draws a moment after a change, as nobody's hand is faster
LICENCES = ("CC0-1.0", "CC-BY-4.0", "")


def drawn(seed: int) -> dict:
    """Settings as a person would make them."""
    rng = random.Random(seed)
    low = {"flow": (0.0, 0.4), "sharpness": (10.0, 45.0), "match": (0.2, 0.26)}
    high = {"flow": (0.8, 2.0), "sharpness": (60.0, 90.0), "match": (0.3, 0.4)}
    typed = {}
    for name in rng.sample(sorted(low), rng.randint(1, 2)):
        if rng.random() < 0.8:
            typed[f"{name}, at least"] = rng.uniform(*low[name])
        if rng.random() < 0.5:
            typed[f"{name}, at most"] = rng.uniform(*high[name])
    return {
        "typed": typed,
        "keep_if": rng.sample(CONDITIONS, rng.randint(0, 2)),
        "licences": rng.sample(LICENCES, rng.randint(0, 2)),
        "max_distance": rng.choice([None, 0, 3, 6, 17]),
        "cap": rng.choice([None, 1, 3]),
        "prefer": rng.choice(["", "sharpness", "match"]),
        "dragged": rng.uniform(0.02, 0.4),
    }


def apply(page, rules: dict) -> None:
    """Set everything by its controls; one threshold is dragged with the mouse."""
    for label, value in rules["typed"].items():
        page.get_by_label(label, exact=True).fill(repr(value))
        page.get_by_label(label, exact=True).press("Tab")
    page.get_by_label("conditions (keep_if)").fill("\n".join(rules["keep_if"]))
    page.get_by_label("near-duplicates").fill(str(rules["max_distance"] or ""))
    if rules["max_distance"] == 0:
        page.get_by_label("near-duplicates").fill("0")
    page.get_by_label("clips of a source").fill(str(rules["cap"] or ""))
    page.get_by_label("clips of a source").press("Tab")
    page.get_by_label("preferred among").select_option(rules["prefer"])
    for name in rules["licences"]:
        page.get_by_label(name or "(none known)", exact=True).check()
    page.wait_for_timeout(_DRAWN_MS)
    handle = page.get_by_role("slider", name="sharpness, lower threshold")
    handle.evaluate("one => one.scrollIntoView({block: 'center'})")  # from under what is sticky
    page.wait_for_timeout(_DRAWN_MS)
    box = handle.bounding_box()
    width = page.locator(".stage", has=handle).bounding_box()["width"]
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + rules["dragged"] * width / 3, middle[1], steps=4)
    page.mouse.up()
    page.wait_for_timeout(_DRAWN_MS)


def test_the_printed_rules_keep_the_clips_that_the_page_keeps(page, made):
    page.open("curation")
    page.page.wait_for_selector("body[data-clips]")
    before = page.page.evaluate("report.kept()")
    for seed in range(10):
        page.page.get_by_role("button", name="As in this run").click()
        assert page.page.evaluate("report.kept()") == before
        apply(page.page, drawn(seed))
        printed = yaml.safe_load(page.page.locator(".copy .command").inner_text())
        found = page.page.evaluate("report.kept()")
        assert "sharpness" in printed["filters"], seed
        assert page.page.locator(".result").get_attribute("data-kept") == str(len(found))
        assert sorted(found) == sorted(kept_by_the_pipeline(made, printed)), (seed, printed)
        assert found != before
    page.page.reload()
    page.page.wait_for_selector("body[data-clips]")
    assert page.page.evaluate("report.kept()") == found  # the address keeps the rules


def kept_by_the_pipeline(made, printed: dict) -> list[str]:
    """Ids of the manifest that build_manifest makes of the printed rules."""
    selection = Selection(
        **{name: printed[name] for name in ("filters", "keep_if", "prefer")},
        licences=printed["licences"] or None,
        max_distance=printed["dedup"]["max_distance"],
        max_clips_per_source=printed["max_clips_per_source"],
    )
    try:
        return list(build_manifest(made.tables, selection, validation_fraction=0.0).manifest["id"])
    except TableError:  # nothing is left
        return []


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


def test_a_reason_shows_its_examples_and_they_play(page):
    page.open("curation")
    page.page.get_by_role("button", name="look at flow too low").click()
    video = page.page.locator(".look video").first
    video.evaluate("node => node.play()")
    page.page.wait_for_function("() => document.querySelector('.look video').currentTime > 0.2")
    assert "is below the minimum 0.2" in page.page.locator(".look").inner_text()
