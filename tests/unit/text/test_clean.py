import json
import random
import re
from pathlib import Path

import ftfy
import pytest

from opensora.text import clean
from opensora.text.caption import count_words
from opensora.text.clean import clean_caption, clean_once

DATA = Path(__file__).parents[2] / "data"
# raw, once, twice: what the reference's cleaning made of captions of our own
GOLDEN = {
    name: json.loads((DATA / f"{name}.json").read_text())
    for name in ("text_clean", "text_clean_numbers_handles", "text_clean_noisy")
}


def test_the_golden_files_are_complete() -> None:
    assert [len(cases) for cases in GOLDEN.values()] == [206, 200, 500]


@pytest.mark.parametrize(("raw", "once", "twice"), GOLDEN["text_clean"])
def test_cleaning_equals_the_reference(raw: str, once: str, twice: str) -> None:
    assert clean_once(raw) == once
    assert clean_caption(raw) == twice


@pytest.mark.parametrize("name", ["text_clean_numbers_handles", "text_clean_noisy"])
def test_dotted_numbers_handles_and_noise_equal_the_reference(name: str) -> None:
    for raw, once, twice in GOLDEN[name]:
        assert (raw, clean_once(raw)) == (raw, once)
        assert (raw, clean_caption(raw)) == (raw, twice)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("@one @two 'a cat'", "a cat"),
        ("10.0.0.1 1.2.3.4.5.6.7.8 , a cat", "a cat"),
        ("1.2.3.4: a cat", "a cat"),
        (" @x : a b @y :", "a b"),
    ],
)
def test_blanks_that_a_removal_leaves_hide_no_sign_at_the_ends(raw: str, text: str) -> None:
    assert clean_once(raw) == text


def test_a_text_without_need_of_any_step_is_told_by_its_shape() -> None:
    """The short way and the long way agree."""
    draw = random.Random(5)
    parts = [*"ab \t.,;:'-1é9😀", "shipping", "pdf", ", ", "com", "  ", "page 1", "x"]
    plain = 0
    for _ in range(3_000):
        text = "".join(draw.choices(parts, k=draw.randint(1, 9))).strip()
        if clean._is_plain(text):
            plain += 1
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(clean, "_is_plain", lambda _: False)
                assert clean._cleaned(text) == text
    assert plain > 200


def test_sound_text_needs_no_repair() -> None:
    """The characters left out of the repair are those that it leaves as they are."""
    signs = [chr(k) for k in range(9, 0x1FB00) if not 0xD800 <= k < 0xE000]
    letters = [sign for sign in signs if re.match(f"[a-z .{clean._LETTERS}]", sign)]
    lone = [sign for sign in signs if re.match(f"[{clean._LONE}]", sign)]
    near = [sign for sign in letters if ord(sign) < 0x500]  # what mojibake is made of
    draw = random.Random(3)
    sound = 0
    for _ in range(4_000):
        pools = (letters, near, near, lone, ["a", " "])
        text = "".join(draw.choice(draw.choice(pools)) for _ in range(draw.randint(1, 9)))
        if clean._SOUND.fullmatch(text):
            sound += 1
            assert ftfy.fix_text(text) == text
    assert sound > 1_000


HOSTILE = (
    "." * 3,
    "a.",
    "a-b.",
    ".com@",
    "a.it@",
    ".png",
    " ",
    " .",
    "1",
    "1.",
    "a1é",
    "1x",
    "<a ",
)
HOSTILE += ("&a", "@a", "http:", "worldwide free ", "-_", "Ã©", "猫", "1:11 ", "a :", "\\n", "%41")


@pytest.mark.parametrize("part", HOSTILE)
def test_long_hostile_text_takes_no_longer_than_its_length(part: str) -> None:
    # 100,000 dots took 140 s by patterns that start anew at every one
    text = (part * 100_000)[:100_000]
    assert len(clean_caption(text)) <= 2 * len(text)


def test_text_that_no_parser_takes_is_cleaned_all_the_same() -> None:
    assert clean_caption("a <![cat]b> sleeps") == "a sleeps"
    assert "\ud83d" not in clean_caption("a <b>cat</b> \ud83d")


def test_words_are_counted_by_white_space() -> None:
    assert count_words(" a  red-ish circle\tmoves ") == 4
    assert count_words("") == 0
