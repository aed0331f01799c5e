"""A listing that a run keeps for its jobs."""

from pathlib import Path

from opensora.dag.listing import keep_listing, read_listing


def test_a_listing_is_read_back_for_the_same_inputs_alone(tmp_path: Path) -> None:
    path = tmp_path / "listing/files.json"
    assert read_listing(path, [["videos"], 2, []]) == []
    keep_listing(path, [["videos"], 2, []], ["aa", "bb"])
    assert read_listing(path, [["videos"], 2, []]) == ["aa", "bb"]
    assert read_listing(path, [["others"], 2, []]) == []
    path.write_text('{"given": [')
    assert read_listing(path, [["videos"], 2, []]) == []


def test_a_listing_that_stays_the_same_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "files.json"
    keep_listing(path, [1], ["aa"])
    before = path.stat().st_mtime_ns, path.stat().st_ino
    keep_listing(path, [1], ["aa"])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    keep_listing(path, [1], ["bb"])
    assert read_listing(path, [1]) == ["bb"]
