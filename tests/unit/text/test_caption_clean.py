import json
from pathlib import Path

import pytest

from opensora.text.caption import clean_caption, clean_once, count_words

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "text_clean.json").read_text())


def test_the_golden_file_is_complete() -> None:
    assert len(GOLDEN) == 206


@pytest.mark.parametrize(("raw", "once", "twice"), GOLDEN)
def test_cleaning_equals_the_reference(raw: str, once: str, twice: str) -> None:
    assert clean_once(raw) == once
    assert clean_caption(raw) == twice


def test_words_are_counted_by_white_space() -> None:
    assert count_words(" a  red-ish circle\tmoves ") == 4
    assert count_words("") == 0
