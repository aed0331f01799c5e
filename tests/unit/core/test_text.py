"""Control and direction characters are shown, everything else stays."""

import logging

import pytest

from opensora.core.log import setup_logging
from opensora.core.text import counted, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 100 %", "plain text, 100 %"),
        ("ünï 視頻 😀 नमस्ते עברית", "ünï 視頻 😀 नमस्ते עברית"),
        ("👩\u200d💻 क\u200cष", "👩\u200d💻 क\u200cष"),  # joiners are part of words
        ("a\tb\nc\x00\x1b[0m\x7f\x9b", r"a\x09b\x0ac\x00\x1b[0m\x7f\x9b"),
        ("\u202eabc\u2066\u200f\ufeff", r"\u202eabc\u2066\u200f\ufeff"),
        ("\u2028\ud800\U000e0041", r"\u2028\ud800\U000e0041"),
    ],
)
def test_only_what_hides_or_turns_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_lines_may_be_kept() -> None:
    assert visible("a\nb\tc\r", keep="\n\t") == "a\nb\tc\\x0d"


def test_a_log_line_can_not_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        setup_logging()
        logging.getLogger("opensora.x").info("file=%s", "a\n2026-01-01 ERROR\x1b[1m \u202ebad")
        logging.getLogger("other").info("two\nlines\x1b")
    finally:
        root.handlers, root.level = before, level
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(r"file=a\x0a2026-01-01 ERROR\x1b[1m \u202ebad")
    assert lines[1].endswith("two")
    assert lines[2:] == [r"lines\x1b"]


def test_one_of_a_thing_is_named_in_the_singular():
    said = [counted(n, "clip") for n in (0, 1, 2, 1000)]
    assert said == ["0 clips", "1 clip", "2 clips", "1000 clips"]
