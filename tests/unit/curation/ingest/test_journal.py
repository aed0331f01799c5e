import shutil
from pathlib import Path

import pandas as pd
import pytest

import opensora.curation.ingest.journal as journal_module
from opensora.core.errors import OpenSoraError
from opensora.curation.ingest import ingest_videos as ingest_module
from opensora.curation.ingest.ingest_videos import ingest_videos
from opensora.curation.ingest.journal import Journal, Key, key_of

KEY: Key = ("a.mp4", 3, 5)
GOOD = {"id": "a", "status": "ok"}


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were really probed."""
    seen: list[str] = []
    run = ingest_module.run_isolated

    def watch(function, items, **options):  # type: ignore[no-untyped-def]
        seen.extend(Path(item).name for item in items)
        return run(function, items, **options)

    monkeypatch.setattr(ingest_module, "run_isolated", watch)
    return seen


@pytest.fixture
def folder(tmp_path: Path, tiny_video: Path) -> Path:
    (tmp_path / "raw").mkdir()
    shutil.copy(tiny_video, tmp_path / "raw" / "a.mp4")
    (tmp_path / "raw" / "b.mp4").write_text("no video")
    return tmp_path / "raw"


def test_what_was_added_is_there_next_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.add(KEY, GOOD)
    journal.close()
    assert Journal(tmp_path / "j.jsonl").rows == {KEY: GOOD}


def test_a_line_that_was_cut_off_is_forgotten_and_hurts_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    for name in "ab":
        journal = Journal(path)
        journal.add((name, 1, 1), GOOD)
        journal.close()
    path.write_bytes(path.read_bytes()[:-9])
    journal = Journal(path)
    assert list(journal.rows) == [("a", 1, 1)]
    journal.add(("c", 1, 1), GOOD)
    journal.close()
    assert list(Journal(path).rows) == [("a", 1, 1), ("c", 1, 1)]


def test_rows_of_another_version_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.add(KEY, GOOD)
    journal.close()
    monkeypatch.setitem(journal_module.VERSIONS, "ingest_videos", 999)
    assert Journal(tmp_path / "j.jsonl").rows == {}


@pytest.mark.parametrize("status", ["timeout", "crashed", "unreadable"])
def test_what_may_go_better_next_time_is_not_kept(tmp_path: Path, status: str) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.add(KEY, {**GOOD, "status": status})
    assert not (tmp_path / "j.jsonl").exists()


def test_a_place_that_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OpenSoraError, match="could not be written"):
        Journal(tmp_path / "file" / "j.jsonl").add(KEY, GOOD)


def test_a_key_is_of_a_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"123")
    key = key_of(str(tmp_path / "a.mp4"))
    assert key is not None
    assert key[1] == 3
    assert key_of(str(tmp_path)) is None
    assert key_of(str(tmp_path / "gone.mp4")) is None


def test_a_second_ingest_probes_what_is_new_and_gives_the_same_table(
    folder: Path, tmp_path: Path, probed: list[str]
) -> None:
    journal = tmp_path / "j.jsonl"
    first = ingest_videos([folder], journal=journal)
    assert sorted(probed) == ["a.mp4", "b.mp4"]
    kept = journal.read_bytes()
    probed.clear()
    pd.testing.assert_frame_equal(ingest_videos([folder], journal=journal), first)
    assert probed == []
    assert journal.read_bytes() == kept
    shutil.copy(folder / "a.mp4", folder / "c.mp4")
    (folder / "b.mp4").unlink()
    again = ingest_videos([folder], journal=journal)
    assert probed == ["c.mp4"]
    assert list(again["status"]) == ["ok", "duplicate"]
    assert "b.mp4" not in journal.read_text()


def test_an_interrupted_ingest_goes_on(
    folder: Path, tmp_path: Path, probed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ingest_videos([folder])
    run = ingest_module.run_isolated

    def stops(*arguments, **options):  # type: ignore[no-untyped-def]
        yield next(run(*arguments, **options))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "run_isolated", stops)
        with pytest.raises(KeyboardInterrupt):
            ingest_videos([folder], journal=tmp_path / "j.jsonl", workers=1)
    probed.clear()
    pd.testing.assert_frame_equal(
        ingest_videos([folder], journal=tmp_path / "j.jsonl", workers=1), whole
    )
    assert probed == ["b.mp4"]
