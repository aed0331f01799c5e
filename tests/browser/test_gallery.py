"""Samples in the browser: all are there, filtered, sorted, played, compared and explained."""

import json
from urllib.parse import quote

import pytest

from opensora.core.text import visible
from opensora.report.pages import write_report
from tests.browser.conftest import Watched
from tests.browser.run_folder import HOSTILE, PROMPTS, make_run
from tests.browser.test_all_sections import serious

CARDS = ".sample"
BREAKS = "\n\t"  # that stay as they are


def names(page) -> list[str]:
    return page.locator(CARDS).evaluate_all("all => all.map(one => one.dataset.sample)")


def test_filter_sort_and_slider_do_what_they_say(page):
    page.open("gallery")
    stages = ["stage1@4", "stage1", "stage2"]
    slider = page.page.get_by_label("Checkpoint", exact=True)
    move = "(node, k) => { node.value = k; node.dispatchEvent(new Event('input')) }"
    for k in (2, 0, 1):
        slider.evaluate(move, k)
        assert {name.split("/")[0] for name in names(page.page)} == {stages[k]}
    assert len(names(page.page)) == 8
    page.page.get_by_role("button", name="All checkpoints").click()
    assert len(names(page.page)) == 24

    page.page.get_by_label("Sort by").select_option("clipsim")
    values = "all => all.map(one => report.sample.find(one.dataset.sample).values.clipsim)"
    falling = page.page.locator(CARDS).evaluate_all(values)
    assert falling == sorted(falling, reverse=True)
    page.page.get_by_role("button", name="falling").click()
    assert page.page.locator(CARDS).evaluate_all(values) == falling[::-1]

    page.open("gallery&gallery.point=all&q=SQUARE%20blue&stage=stage2&low.clipsim=0.25")
    expected = "report.data.gallery.samples.filter(one => one.prompt.includes('blue square')"
    expected += " && one.point === 2 && one.values.clipsim >= 0.25).map(one => `stage2/${one.id}`)"
    assert sorted(names(page.page)) == sorted(page.page.evaluate(expected)) != []
    page.open("gallery&gallery.point=all&low.clipsim=1")
    assert names(page.page) == []
    assert page.page.get_by_text("0 of 24 samples").is_visible()


def test_samples_have_all_of_the_tags_that_are_chosen(page):
    page.open("gallery&gallery.point=all")
    count = page.page.locator("#section-gallery > div > [role=status]")
    tags = page.page.locator("#filter label:has(span:text-is('tag')) select")
    chips = page.page.locator("#filter .chips button")
    for tag, number in (("64x32", 12), ("video", 12), ("64x32", 12), ("32x32", 0)):
        tags.select_option(tag)
        assert count.inner_text() == f"{number} of 24 samples"
        assert tags.input_value() == ""
    assert page.page.evaluate("report.state.get('tag')") == "64x32,video,32x32"
    assert [text.rstrip(" \u00d7") for text in chips.all_inner_texts()[:3]] == [
        *("64x32", "video", "32x32")
    ]
    chips.first.click()
    assert count.inner_text() == "12 of 24 samples"
    page.page.go_back()
    page.until("report.state.get('tag') === '64x32,video,32x32'")
    assert count.inner_text() == "0 of 24 samples"


def test_players_are_there_while_they_are_seen_and_advance(page):
    page.open("gallery&gallery.point=all")
    page.page.set_viewport_size({"width": 700, "height": 600})
    first, last = page.page.locator(CARDS).first, page.page.locator(CARDS).last
    first.locator("video").wait_for()
    assert last.locator("video").count() == 0
    loaded = "[...document.querySelectorAll('video')].filter(one => one.readyState > 0).length"
    assert page.page.evaluate(loaded) == 0
    first.get_by_role("button", name="play").click()
    page.until("document.querySelector('.sample video').currentTime > 0.2")
    last.scroll_into_view_if_needed()
    last.locator("video").wait_for()
    first.locator("video").wait_for(state="detached")
    assert first.get_by_role("button", name="play").get_attribute("aria-pressed") == "false"


def test_samples_of_one_noise_play_and_step_together(page):
    page.open("gallery")
    page.page.locator(CARDS).first.get_by_role("button", name="Compare").click()
    panel = page.page.get_by_role("region", name="Side by side")
    assert panel.locator("video").count() == 3  # one a checkpoint
    assert serious(page.page) == []
    times = "[...document.querySelectorAll('.compare video')].map(v => v.currentTime)"
    panel.get_by_role("button", name="one frame on").click()
    page.until(f"{times}.every(t => Math.abs(t - 1.5 / 8) < 1e-3)")
    assert "frame 2 of" in panel.locator("output").inner_text()
    panel.get_by_role("button", name="one frame on").press(".")
    page.until(f"{times}.every(t => Math.abs(t - 2.5 / 8) < 1e-3)")
    panel.get_by_role("button", name="Play", exact=True).click()
    page.until(f"{times}.every(t => t > 0.5)")
    moments = page.page.evaluate(times)
    assert max(moments) - min(moments) < 1 / 8
    panel.get_by_role("button", name="Pause").click()
    panel.get_by_label("sample 1", exact=True).select_option("stage2/sample_0000_001")
    page.page.reload()  # the address keeps it
    chosen = panel.locator("select").evaluate_all("all => all.map(one => one.value)")
    assert chosen[0] == "stage2/sample_0000_001"
    panel.get_by_role("button", name="Close").click()
    assert panel.count() == 0


def test_a_sample_says_how_it_was_made_and_how_to_make_it_again(page, made):
    page.open("gallery&gallery.open=stage2%2Fsample_0000_000")
    dialog = page.page.get_by_role("dialog")
    record = made.run / "samples/stage2/sample_0000_000.json"
    assert dialog.locator(".command").inner_text() == f"opensora sample --replay {record}"
    row = dialog.get_by_role("row").filter(has_text="checkpoint")
    assert row.locator("td").inner_text() == visible(HOSTILE[1])
    assert serious(page.page) == []
    page.page.keyboard.press("ArrowRight")
    page.until("location.hash.includes('sample_0000_001')")
    page.page.keyboard.press("Escape")
    page.until("!location.hash.includes('open')")
    assert not dialog.is_visible()


def test_texts_of_any_kind_are_shown_and_never_run(browser, tmp_path):
    made = make_run(tmp_path, clips=20, samples=2 * len(PROMPTS), stages=("stage1",))
    write_report(made.run, made.run / "report/index.html")
    with Watched(browser, made.run / "report") as opened:
        page = opened.page
        page.add_init_script("globalThis.alert = () => { globalThis.ran = true }")
        opened.open("gallery")
        page.locator(CARDS).nth(2 * len(PROMPTS) - 1).wait_for()
        data = page.evaluate("JSON.stringify(report.data.gallery.samples.map(s => s.prompt))")
        assert json.loads(data) == [prompt for prompt in PROMPTS for _ in range(2)]
        for k, prompt in enumerate(PROMPTS):
            card = page.locator(CARDS).nth(2 * k)
            for button in card.get_by_role("button", name="show all").all():
                button.click()
            shown = card.locator(".quote").evaluate("one => one.textContent")
            assert shown == visible(prompt, keep=BREAKS)
            label = card.locator(".plays").get_attribute("aria-label")
            assert label == f"play sample: {visible(prompt[:200], keep=BREAKS)}"
        for prompt in PROMPTS:
            opened.open(f"gallery&q={quote(prompt[:60], safe='')}")
            assert page.locator("#q").input_value() == prompt[:60]
            found = page.locator(CARDS).locator(".quote").all_inner_texts()
            assert any(text.startswith(visible(prompt[:40])) for text in found)
        assert page.evaluate("document.title") == "Samples, tiny"
        assert page.evaluate("globalThis.ran") is None
        assert page.locator("#main script, #main img[onerror], #main [onclick]").count() == 0


@pytest.mark.parametrize("count", [10, 1000])
def test_all_samples_are_there_and_few_cards_are_made_at_first(count, page):
    page.open("overview")
    multiply = """count => {
      const samples = report.data.gallery.samples;
      report.data.gallery.samples = Array.from({ length: count },
        (_, k) => ({ ...samples[k % samples.length], id: `s${k}`, point: 2, pair: k }));
      report.go("gallery");
    }"""
    page.page.evaluate(multiply, count)
    assert len(names(page.page)) <= 100
    assert page.page.locator("video").count() <= 100
    more = page.page.locator("#section-gallery > div > .more")
    while more.is_visible():
        more.evaluate("one => one.click()")
    assert names(page.page) == [f"stage2/s{k}" for k in range(count)]
