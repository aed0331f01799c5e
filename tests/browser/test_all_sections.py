"""Every section, in light and dark: drawn, without complaint, fit for a screen reader."""

import shutil
import zipfile
from pathlib import Path

import pytest

from opensora.report.pages import write_report
from tests.browser.conftest import watched
from tests.browser.run_folder import HOSTILE

AXE = (Path(__file__).parent / "vendor/axe.min.js").read_text(encoding="utf-8")
RULES = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"], preload: false});
  return found.violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.target).join(" ")}`);
}"""


def serious(page) -> list[str]:
    """What axe finds that keeps somebody from using the page as it stands."""
    page.evaluate(AXE)
    found: list[str] = page.evaluate(RULES)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_section_is_drawn_and_fit_for_a_screen_reader(scheme, browser, made):
    with watched(browser, made.run / "report", color_scheme=scheme) as opened:
        opened.open()
        page = opened.page
        sections = page.evaluate("report.sections.map((section) => section.id)")
        for section in sections:
            page.evaluate("id => report.go(id)", section)
            if section == "curation":
                page.wait_for_selector("body[data-clips]")
                page.get_by_role("button", name="look at too short").click()
            shown = page.locator(f"#section-{section}")
            assert shown.locator(".absent").count() == 0, section
            for chart in shown.locator(".chart").all():
                chart.scroll_into_view_if_needed()
                chart.locator("canvas").wait_for()
            assert serious(page) == [], (section, scheme)


def test_an_unpacked_report_is_whole(browser, made, tmp_path):
    here, archive = tmp_path / "here/index.html", tmp_path / "report.zip"
    write_report(made.run, here, benchmarks=made.benchmarks, archive=archive)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    with watched(browser, tmp_path / "there/index") as opened:
        opened.open()
        page = opened.page
        for section in page.evaluate("report.sections.map((section) => section.id)"):
            page.evaluate("id => report.go(id)", section)
            if section in ("curation", "clips"):
                page.locator("[data-clips], [data-ready]").first.wait_for(state="attached")
            assert page.locator(f"#section-{section} .absent").count() == 0, section
        addresses = page.evaluate(
            "report.data.gallery.samples.map((one) => [one.media, one.poster])"
        )
        assert len(addresses) == 24
        for address in {name for pair in addresses for name in pair}:
            assert (tmp_path / "there/index" / address).stat().st_size > 0
        page.evaluate("report.go('gallery')")
        page.locator("#section-gallery .sample").first.get_by_role("button", name="play").click()
        opened.until("document.querySelector('#section-gallery video').currentTime > 0.2")


def test_hostile_text_is_shown_and_never_run(page):
    page.open("curation")
    page.page.wait_for_selector("body[data-clips]")
    page.page.get_by_role("button", name="look at too short").click()
    text = page.page.locator("#section-curation").inner_text()
    assert HOSTILE[0] in text
    assert HOSTILE[1] in text
    assert HOSTILE[4] in text
    assert "\\u202eturned\\u202c" in text
    assert "\u202e" not in text
    page.page.get_by_role("button", name="show all 10,000 characters").first.click()
    assert HOSTILE[5].strip() in page.page.locator("#section-curation").inner_text()
    assert page.page.locator("main script, main iframe, main [onerror]").count() == 0
    assert page.page.title() == "Curation, tiny"
    page.open("configuration")
    page.page.locator("#section-configuration summary").first.click()
    assert HOSTILE[0] in page.page.locator("pre").first.inner_text()


def test_each_source_of_a_run_has_a_bar(page):
    page.open("buckets")
    text = page.page.locator("#section-buckets").inner_text()
    assert "30 samples of 16 clips, 75.0 %; weight 3" in text
    assert "10 samples of 6 clips, 25.0 %; weight 1" in text
