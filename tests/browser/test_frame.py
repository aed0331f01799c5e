"""The frame: sections, keyboard, address, hostile text, light and dark."""

import pytest

from opensora.core.io import read_json


def test_sections_are_reached_by_mouse_keyboard_and_way_back(page):
    page.open()
    names = page.page.locator("nav a").all_inner_texts()
    assert names[0] == "Overview"
    for k, name in enumerate(names):
        page.page.get_by_role("link", name=name, exact=True).click()
        assert page.page.locator("h2:visible").inner_text() == name
        assert page.page.locator("nav a[aria-current]").all_inner_texts() == [names[k]]
    page.page.keyboard.press("[")
    assert page.page.locator("h2:visible").inner_text() == names[-2]
    page.page.go_back()
    page.page.wait_for_function("name => document.title.startsWith(name)", arg=names[-1])


def test_the_filter_stands_in_the_address(page):
    page.open("overview&q=red%20%3Cb%3E&stage=stage1&low.clipsim=0.2")
    assert page.page.locator("#q").input_value() == "red <b>"
    chips = page.page.locator("#filter .chips button")
    shown = [text.rstrip(" \u00d7") for text in chips.all_inner_texts()]
    assert shown == ["“red <b>”", "stage1", "clipsim ≥ 0.2", "clear all"]
    page.page.keyboard.press("/")
    page.page.keyboard.press("Control+a")
    page.page.keyboard.type("blue & square")
    page.page.wait_for_function("() => location.hash.includes('q=blue%20%26%20square')")
    page.page.get_by_role("button", name="clear all").click()
    assert page.page.evaluate("location.hash") == "#overview"
    page.page.reload()
    assert page.page.locator("#q").input_value() == ""


@pytest.mark.parametrize(
    ("rules", "others", "section", "count"),
    [
        ("low.sharpness=0", "sharpness does", "gallery", "8 of 24 samples"),
        ("low.clipsim=0.1", "clipsim does", "clips", "{0} of {0} clips"),
        ("low.clipsim=0.1", "clipsim does", "curation", "{0} pass the filter"),
        ("tag=video", "video does", "clips", "{0} of {0} clips"),
        ("stage=stage1&tag=video&low.m_x=1", "stage1, video and m x do", "curation", "{0} pass"),
    ],
)
def test_what_speaks_of_other_things_leaves_a_section_as_it_is(
    rules, others, section, count, page, made
):
    page.open(f"{section}&{rules}")
    last = read_json(made.run / "funnel.json")["stages"][-1]
    shown = page.page.locator(f"#section-{section}").get_by_text(count.format(last["rows_in"]))
    shown.wait_for()
    assert f"; {others} not apply here" in shown.inner_text()
    page.open(section)
    shown.wait_for()
    assert "not apply" not in shown.inner_text()


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "//host/x", "../x/y", "a/../b", "data:x"]
)
def test_an_address_leads_nowhere_else(address, page):
    page.open()
    refused = "a => { try { report.el('a', {href: a}); return false } catch { return true } }"
    assert page.page.evaluate(refused, address)
    assert not page.page.evaluate(refused, "index_files/media/x.mp4")
