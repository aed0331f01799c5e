import pytest

from opensora.core.terminal import align, facts, percent, short


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
        "name        n\n-------------\na           1\nlong name  22\n"
    )
    assert align(["name", "why", "n"], [["a", "so", "1"]], left=["why"]) == (
        "name  why  n\n------------\na     so   1\n"
    )


def test_a_table_without_rows_has_its_titles():
    assert align(["a", "bc"], []) == "a  bc\n-----\n"


def test_cells_are_written_as_they_are(monkeypatch):
    """On a narrow terminal with colours as in a log file."""
    for name, value in {"COLUMNS": "20", "FORCE_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    cells = ["[bold]32px|8[/bold] :smile: 12", "x" * 300]
    assert align(["a", "b"], [cells]).splitlines()[2] == "  ".join(cells)
    assert facts([(cells[0], cells[1])]) == "  ".join(cells) + "\n"


def test_facts_are_names_and_values():
    assert facts([("a", "1"), ("bcd", "two words")]) == "a    1\nbcd  two words\n"
    assert facts([]) == ""


def test_percent_has_one_decimal():
    assert percent(0.4167) == "41.7 %"


def test_no_cell_steers_the_terminal():
    assert align(["name"], [["a\x1b[2Jb\u202ec\nd"]]).splitlines()[-1] == r"a\x1b[2Jb\u202ec\x0ad"
