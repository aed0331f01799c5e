"""`opensora bench report` opens what it made, and counts what is shown."""

import re
import shutil

import pytest

from opensora.cli.main import main

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]


def test_all_samples_are_shown_and_the_filter_is_timed(capsys) -> None:
    words = ["--samples", "4", "120", "--clips", "200", "--rounds", "1"]
    assert main(["bench", "report", *words]) == 0
    said = capsys.readouterr().out
    rows = re.findall(r"\| (.*) \| .* s \| (\d+) ms \| (\d+) ms \| ([\d.]+) \| (.*) \|", said)
    assert [row[0] for row in rows] == ["4 samples", "120 samples", "200 clips"]
    assert [row[4].strip() for row in rows] == ["4 samples", "120 samples", ""]
    assert all(int(opened) > 0 and int(step) > 0 for _, opened, step, _, _ in rows)
    assert all(0 < float(size) < 15 for *_, size, _ in rows)
    assert re.search(r"120 samples open in [\d.]+ times the time of 4;", said)


def test_numbers_that_can_not_be_are_one_sentence(capsys) -> None:
    assert main(["bench", "report", "--samples", "1"]) == 2
    assert "--samples: expected a whole number of at least 2" in capsys.readouterr().err
