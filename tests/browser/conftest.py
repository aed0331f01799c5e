"""The report of a small run in Debian's Chromium; what it asks of the network is a failure."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensora.report.pages import write_report
from tests.browser.run_folder import Made, make_run, write_comparison
from tests.browser.run_sources import make_imported_run, make_sources_run

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")  # while it is open no other event loop runs in this process
def browser() -> Iterator:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run with hostile texts, and its report in `report/index.html`."""
    made = make_run(tmp_path_factory.mktemp("report"))
    write_report(
        *(made.run, made.run / "report/index.html"),
        benchmarks=made.benchmarks,
        against=[write_comparison(made.run.parent / "against")],
    )
    return made


def _with_report(made: Made) -> Made:
    write_report(made.run, made.run / "report/index.html")
    return made


@pytest.fixture(scope="session")
def of_sources(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run of two sources of videos and one of ready clips, and its report."""
    return _with_report(make_sources_run(tmp_path_factory.mktemp("sources")))


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run whose clips came as a table, and its report."""
    return _with_report(make_imported_run(tmp_path_factory.mktemp("imported")))


@pytest.fixture
def page(browser, made: Made) -> Iterator:
    """A new page; whatever it complains of, or asks of anybody but the report, fails the test."""
    with watched(browser, made.run / "report") as opened:
        yield opened


class Watched:
    """A page that remembers what went wrong."""

    def __init__(self, browser, folder: Path, **context) -> None:
        self.folder = folder
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.faults: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self._request)

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _request(self, request) -> None:
        inside = f"file://{self.folder.resolve()}/"
        if not request.url.startswith((inside, "data:", "blob:")):
            self.faults.append(f"request: {request.url}")

    def open(self, where: str = "") -> None:
        """Open a section by its part of the address, as `gallery&q=red`."""
        self.page.goto(f"file://{self.folder.resolve()}/index.html#{where}")
        wanted = where.partition("&")[0] or "overview"
        self.page.wait_for_selector(f"body[data-section='{wanted}']")

    def until(self, expression: str) -> None:
        """Wait until it is true; Playwright's own way is an eval, which the policy forbids."""
        for _ in range(300):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, kind, *_) -> None:
        self.context.close()
        if kind is None:
            assert self.faults == []


def watched(browser, folder: Path, **context) -> Watched:
    return Watched(browser, folder, **context)
