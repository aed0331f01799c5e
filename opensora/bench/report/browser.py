"""Open a report in Chromium and time it from within the page, so that the driver costs nothing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from opensora.core.errors import ConfigError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 120_000  # milliseconds
# what is on the screen once a section is there
READY = {
    "gallery": "document.querySelector(\"body[data-section='gallery'] [data-sample]\")",
    "curation": "document.body.dataset.clips",
}
# notes when a section is first painted, in milliseconds since the page was asked for
_STOPWATCH = """
(function look() {
  if (document.body && (READY)) requestAnimationFrame(() => setTimeout(() => {
    window.openedAfter = performance.now();
  }));
  else requestAnimationFrame(look);
})();
"""
# sets the filter and waits until it is painted
_FILTER = """
async (changes) => {
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  await painted();
  const begun = performance.now();
  report.state.set(changes);
  await painted();
  return performance.now() - begun;
}
"""

# asks for more samples until there are no more
_SCROLL = """
async () => {
  const more = document.querySelector("button.more");
  while (!more.hidden) {
    more.click();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  }
  return document.querySelectorAll("[data-sample]").length;
}
"""


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium without a window.

    Raises:
        ConfigError: it or its driver is not installed.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ConfigError(
            "bench report: playwright is not installed; pip install 'opensora[dev]'"
        ) from error
    if found is None:
        raise ConfigError(
            "bench report: there is no browser; install chromium, as by apt-get install chromium"
        )
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


def seconds_to_open(opened: Any, page: Path, section: str, *, rounds: int) -> float:
    """Median time until a section is on the screen, in seconds; each round is a fresh profile."""
    return median(_open(opened, page, section)[0] for _ in range(rounds))


def seconds_to_filter(
    opened: Any, page: Path, section: str, changes: list[dict[str, str | None]]
) -> tuple[float, str]:
    """Median time of steps of the filter, in seconds, and what the section says of it at the end.

    Args:
        opened: from `browser`.
        page: of the report.
        section: which is open.
        changes: of the address, one after the other.
    """
    context, tab = _tab(opened, page, section)
    try:
        times = [tab.evaluate(_FILTER, step) / 1000 for step in changes]
        said = tab.evaluate(
            "() => [...document.querySelectorAll('main [role=status]')].map(n => n.textContent)"
            ".filter(Boolean).join('; ')"
        )
        return median(times), str(said)
    finally:
        context.close()


def samples_in(opened: Any, page: Path) -> int:
    """How many samples the gallery shows to one who scrolls to its end."""
    context, tab = _tab(opened, page, "gallery")
    try:
        return int(tab.evaluate(_SCROLL))
    finally:
        context.close()


def _open(opened: Any, page: Path, section: str) -> tuple[float, str]:
    context, tab = _tab(opened, page, section)
    try:
        return tab.evaluate("() => window.openedAfter") / 1000, tab.title()
    finally:
        context.close()


def _tab(opened: Any, page: Path, section: str) -> tuple[Any, Any]:
    context = opened.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(_STOPWATCH.replace("READY", READY[section]))
    tab = context.new_page()
    tab.set_default_timeout(_PATIENCE)
    tab.goto(f"{page.resolve().as_uri()}#{section}&gallery.point=all")
    tab.wait_for_function("() => window.openedAfter !== undefined")
    return context, tab
