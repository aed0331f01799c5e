"""`opensora browse` in Chromium: filter, sort, play, correct; hostile texts stay texts."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensora.report.browse.rows import read_rows
from opensora.report.browse.server import Browser
from opensora.tables.corrections import Correction, put_correction, read_corrections
from tests.browser.run_folder import HOSTILE, Made, make_run

READY = "document.querySelector('#section-rows > div[data-ready]') !== null"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_run(tmp_path_factory.mktemp("browse"))


@pytest.fixture
def server(folder: Made, tmp_path: Path) -> Iterator[Browser]:
    with Browser(read_rows(folder.run), tmp_path / "mine/corrections.csv", 0) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


class Opened:
    """The page, and whatever went wrong in it."""

    def __init__(self, browser, server: Browser, **context) -> None:
        self.context, self.server = browser.new_context(**context), server
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.faults: list[str] = []
        self.page.on("console", lambda m: m.type == "error" and self.faults.append(m.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._request)
        self.load(server.address)

    def _request(self, request) -> None:
        if not request.url.startswith((f"http://127.0.0.1:{self.server.port}/", "data:")):
            self.faults.append(request.url)

    def load(self, address: str) -> None:
        self.page.goto(address)
        self.until(READY)

    def until(self, expression: str) -> None:
        for _ in range(200):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")

    def says(self, words: str) -> None:
        self.until(
            f"document.querySelector('#section-rows p.note').textContent.includes({words!r})"
        )

    def ids(self) -> list[str]:
        return self.page.locator("tbody th").all_inner_texts()


@pytest.fixture
def opened(browser, server: Browser) -> Iterator[Opened]:
    found = Opened(browser, server)
    yield found
    found.context.close()
    assert found.faults == []


def test_the_secret_leaves_the_address_and_a_reload_works(opened: Opened) -> None:
    assert "token" not in opened.page.url
    opened.page.reload()
    opened.until(READY)
    opened.says("60 of 60 rows")


def test_filter_and_sort(opened: Opened, folder: Made) -> None:
    table = opened.server.rows.table
    opened.page.fill("#q", "red circle")
    wanted = table[table["caption"].str.contains("red circle")]
    opened.says(f"{len(wanted)} of 60 rows")
    opened.page.get_by_role("button", name="clear all").click()
    opened.page.select_option("#filter select >> nth=0", "reason: flow_too_low")
    low = table[table["reason"] == "flow_too_low"]
    opened.says(f"{len(low)} of 60 rows")
    assert len(low) > 2
    opened.page.locator("th button.sort", has_text="flow").first.click()
    best = low.sort_values("flow", ascending=False)["id"].tolist()
    assert opened.ids() == best
    opened.page.get_by_role("button", name=best[0], exact=True).click()
    opened.page.get_by_role("button", name="Next", exact=True).click()
    assert opened.page.locator("h3").inner_text() == best[1]
    assert "below the minimum 0.2" in opened.page.locator("section.card .pairs").inner_text()


def test_a_clip_plays(opened: Opened) -> None:
    opened.page.locator("tbody th button").nth(5).click()
    opened.until("document.querySelector('video').currentTime > 0.2")
    opened.page.evaluate("document.querySelector('video').pause()")
    opened.page.evaluate("document.querySelector('video').currentTime = 1.5")
    opened.until("Math.abs(document.querySelector('video').currentTime - 1.5) < 0.1")
    opened.until("!document.querySelector('video').seeking")


def test_corrections_are_written_and_taken_back(opened: Opened) -> None:
    page, file = opened.page, opened.server.corrections
    name = opened.ids()[4]
    page.get_by_role("button", name=name, exact=True).click()
    page.fill("#caption", HOSTILE[0])
    page.check("#out")
    page.fill("#note", "a logo")
    page.get_by_role("button", name="Save", exact=True).click()
    opened.says("1 corrected in")
    assert read_corrections(file) == {name: Correction(name, HOSTILE[0], "out", "a logo")}
    assert page.locator("tbody tr").nth(4).locator("td").nth(1).inner_text() == "out, caption, note"
    page.select_option("#filter select >> nth=0", "marked out")
    opened.says("1 of 60 rows")
    opened.load(f"http://127.0.0.1:{opened.server.port}/#rows&open={name}")
    assert page.input_value("#caption") == HOSTILE[0]
    table = opened.server.rows.table
    page.fill("#caption", table.loc[table["id"] == name, "caption"].item())
    page.uncheck("#out")
    page.fill("#note", "")
    page.get_by_role("button", name="Save", exact=True).click()
    opened.says("0 corrected in")
    assert read_corrections(file) == {}
    assert page.title() != "run"  # what a hostile text would have set


def test_what_was_typed_and_not_saved_stays(opened: Opened) -> None:
    """Another clip may be looked at before; leaving the page asks first."""
    page, first = opened.page, opened.ids()[0]
    page.get_by_role("button", name=first, exact=True).click()
    page.fill("#caption", "half a thought")
    state = "document.querySelector('.correct .note').textContent"
    opened.until(f"{state}.startsWith('Not saved yet.')")
    page.get_by_role("button", name="Next", exact=True).click()
    assert page.input_value("#caption") != "half a thought"
    page.get_by_role("button", name="Previous").click()
    assert page.input_value("#caption") == "half a thought"
    leave = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert page.evaluate(leave) is False  # the browser asks
    page.get_by_role("button", name="Save", exact=True).click()
    opened.says("1 corrected in")
    assert page.evaluate(leave) is True
    assert read_corrections(opened.server.corrections)[first].caption == "half a thought"


def test_save_and_next_by_keys_and_take_back(opened: Opened) -> None:
    page, file, names = opened.page, opened.server.corrections, opened.ids()
    page.get_by_role("button", name=names[0], exact=True).click()
    page.fill("#caption", "a better one")
    page.keyboard.press("Control+Enter")
    opened.until(f"document.querySelector('h3').textContent === {names[1]!r}")
    page.check("#out")
    page.get_by_role("button", name="Save and next").click()
    opened.until(f"document.querySelector('h3').textContent === {names[2]!r}")
    assert read_corrections(file) == {
        names[0]: Correction(names[0], "a better one"),
        names[1]: Correction(names[1], "", "out", ""),
    }
    assert page.get_by_role("button", name="Take back").count() == 0
    page.get_by_role("button", name=names[0], exact=True).click()
    page.get_by_role("button", name="Take back").click()
    opened.says("1 corrected in")
    assert set(read_corrections(file)) == {names[1]}
    found = opened.server.rows.table.iloc[0]["caption"]
    assert page.input_value("#caption") == found


def test_to_open_a_clip_corrects_nothing(opened: Opened) -> None:
    """Whatever a caption holds that a field shows in another way."""
    for name in opened.ids()[: len(HOSTILE) + 2]:
        opened.page.get_by_role("button", name=name, exact=True).click()
        opened.until("document.getElementById('caption') !== null")
        note = opened.page.locator(".correct .note").inner_text()
        assert "Not saved" not in note, name


def test_who_was_too_late_is_told(browser, server: Browser) -> None:
    opened = Opened(browser, server)
    name = opened.ids()[0]
    opened.page.get_by_role("button", name=name, exact=True).click()
    opened.until("document.getElementById('caption') !== null")
    put_correction(server.corrections, Correction(name, "theirs"), Correction(name))
    opened.page.fill("#caption", "mine")
    opened.page.get_by_role("button", name="Save", exact=True).click()
    told = "document.querySelector('.correct .note').textContent"
    opened.until(f"{told}.includes('corrected by somebody else')")
    assert read_corrections(server.corrections) == {name: Correction(name, "theirs")}
    opened.context.close()
    assert [fault for fault in opened.faults if "409" not in fault] == []


def test_it_works_by_keyboard_and_for_screen_readers(opened: Opened) -> None:
    opened.page.locator("tbody th button").first.click()
    opened.until("document.getElementById('caption') !== null")
    script = Path(__file__).parent / "vendor"
    axe = next(script.glob("axe*.js")).read_text()
    opened.page.evaluate(axe)
    found = opened.page.evaluate("axe.run().then((r) => r.violations.map((v) => [v.impact, v.id]))")
    assert [entry for entry in found if entry[0] in ("serious", "critical")] == []
