"""Tables of corrections: read as people write them, written whole by several at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from opensora.core.errors import TableError
from opensora.tables.corrections import Correction, Outdated, put_correction, read_corrections


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine/corrections.csv"
    odd = Correction('b,"x"', 'a "dog",\nwith lines', "out", "=1+1")
    for row in (Correction("a", caption="007"), odd):
        put_correction(path, row, Correction(row.id))
    assert read_corrections(path) == {"a": Correction("a", "007"), odd.id: odd}
    assert path.read_text().startswith("id,caption,mark,detail\n")
    put_correction(path, Correction("a"), Correction("a", "007"))
    assert list(read_corrections(path)) == [odd.id]


def test_a_table_by_hand_needs_an_id_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("id,mark\na,out\nb,\n")
    assert read_corrections(path) == {"a": Correction("a", mark="out"), "b": Correction("b")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,captoin\na,x\n", "no column 'captoin'.*did you mean 'caption'"),
        ("caption\nx\n", "column 'id' is missing"),
        ("id,mark\na,out\na,\n", "row 2: 'a' is corrected twice"),
        ("id,mark\na,OUT\n", "row 1: the mark of 'a' is 'OUT'; expected 'out' or nothing"),
        ("id,mark\n,out\n", "row 1: a correction needs the id"),
        (f"id,caption\na,{'x' * 5001}\n", "row 1: the caption of 'a' has 5,001 characters"),
    ],
)
def test_what_can_not_be_meant_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=words):
        read_corrections(path)


def test_who_saw_something_older_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    put_correction(path, Correction("a", "first"), Correction("a"))
    before = path.read_bytes()
    with pytest.raises(Outdated, match="'a' was corrected by somebody else"):
        put_correction(path, Correction("a", "second"), Correction("a"))
    assert path.read_bytes() == before


def test_several_at_once_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    names = [f"clip{k}" for k in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: put_correction(path, Correction(n, n), Correction(n)), names))
    assert sorted(read_corrections(path)) == sorted(names)
