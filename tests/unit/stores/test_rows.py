"""What was computed once stays known: to later jobs, to jobs at the same time, after a kill."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from opensora.stores import rows
from opensora.stores.rows import MAX_FILES, RowStore


def test_rows_are_found_by_key_and_only_in_their_part(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "scores", "0001")
    assert store.get("a") is None
    store.put("a", {"flow": 0.5, "name": "é"})
    assert store.get("a") == {"flow": 0.5, "name": "é"}
    assert not (tmp_path / "scores").exists()
    store.save()
    assert RowStore(tmp_path / "scores", "0001").get("a") == {"flow": 0.5, "name": "é"}
    assert RowStore(tmp_path / "scores", "0002").get("a") is None


def test_the_first_row_of_a_key_stays(tmp_path: Path) -> None:
    first, second = RowStore(tmp_path, "p"), RowStore(tmp_path, "p")
    first.put("a", {"n": 1})
    first.put("a", {"n": 2})
    assert first.get("a") == {"n": 1}
    first.save()
    second.put("b", {"n": 3})  # met at the same part, neither loses a row
    second.save()
    found = RowStore(tmp_path, "p")
    assert (found.get("a"), found.get("b")) == ({"n": 1}, {"n": 3})


def test_equal_rows_are_one_file(tmp_path: Path) -> None:
    for _ in range(2):
        store = RowStore(tmp_path, "p")
        store.put("b", {"n": 1})
        store.put("a", {"n": 1})
        store._files = []  # as if both had begun before either wrote
        store.save()
    assert len(list(tmp_path.iterdir())) == 1


def test_many_small_files_are_joined_and_nothing_is_lost(tmp_path: Path) -> None:
    for number in range(MAX_FILES):
        store = RowStore(tmp_path, "p")
        store.put(f"k{number}", {"n": number})
        store.save()
    late = RowStore(tmp_path, "p")
    other = RowStore(tmp_path, "p")
    other.put("other", {"n": -1})
    other.save()  # one more than may stand there: joined
    late.put("late", {"n": -2})
    late.save()  # this one knows only the files from before
    assert len(list(tmp_path.iterdir())) <= 3
    found = RowStore(tmp_path, "p")
    assert [found.get(f"k{number}") for number in range(MAX_FILES)] == [
        {"n": number} for number in range(MAX_FILES)
    ]
    assert (found.get("other"), found.get("late")) == ({"n": -1}, {"n": -2})


def test_a_damaged_file_is_named_and_the_others_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for key in "ab":
        store = RowStore(tmp_path, "p")
        store.put(key, {"n": 1})
        store.save()
    damaged = sorted(tmp_path.iterdir())[0]
    damaged.write_text("{ damaged")
    with caplog.at_level(logging.WARNING):
        found = RowStore(tmp_path, "p")
    assert [found.get(key) for key in "ab"].count(None) == 1
    assert str(damaged) in caplog.text


def test_a_killed_job_keeps_what_it_wrote_on_the_way(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from opensora.stores import rows;"
        "rows.SECONDS = 0.0; store = rows.RowStore(Path(sys.argv[1]), 'p');"
        "store.put('a', {'n': 1}); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == -9
    assert RowStore(tmp_path, "p").get("a") == {"n": 1}


def test_what_is_new_waits_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "SECONDS", 1e9)
    store = RowStore(tmp_path, "p")
    store.put("a", {"n": 1})
    assert not list(tmp_path.iterdir())


def test_a_digit_that_flipped_is_no_score(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = RowStore(tmp_path, "p")
    store.put("a", {"flow": 0.5})
    store.save()
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text().replace("0.5", "0.7"))
    assert RowStore(tmp_path, "p").get("a") is None
    assert f"store file left out path={path} error=not what was written" in caplog.text
