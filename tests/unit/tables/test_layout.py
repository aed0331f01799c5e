import pytest

from opensora.tables.layout import align, facts, percent, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (0.1234, "0.12"),
        (12.345, "12.3"),
        (640, "640"),
        (999.6, "1.00 k"),
        (1519, "1.52 k"),
        (123_456, "123 k"),
        (1_000_000, "1 M"),
        (2.5e15, "2.50 P"),
    ],
)
def test_short_numbers_have_three_digits(value, text):
    assert short(value) == text


def test_units_follow_the_prefix():
    assert short(4.19e6, "B") == "4.19 MB"
    assert short(12, "B") == "12 B"


def test_columns_are_aligned():
    assert align(["name", "n"], [["a", "1"], ["long name", "22"]]) == (
        "name        n\n---------  --\na           1\nlong name  22\n"
    )


def test_a_table_without_rows_has_its_titles():
    assert align(["a", "bc"], []) == "a  bc\n-  --\n"


def test_facts_are_names_and_values():
    assert facts([("a", "1"), ("bcd", "two words")]) == "a    1\nbcd  two words\n"
    assert facts([]) == ""


def test_percent_has_one_decimal():
    assert percent(0.4167) == "41.7 %"
