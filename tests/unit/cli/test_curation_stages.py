"""Options of the first three stages: what they refuse, and what they say when done."""

from pathlib import Path

import pytest
from PIL import Image

from opensora.cli.main import main
from opensora.tables.columns import VIDEOS
from opensora.tables.io import read_table


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder raw with two pictures."""
    (tmp_path / "raw").mkdir()
    for k in range(2):
        Image.new("RGB", (20 + k, 30), (k * 90, 0, 0)).save(tmp_path / f"raw/{k}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("ingest-videos raw --output v.csv --num-shards 2", "--shards-dir or --shard"),
        ("ingest-videos raw --output v.csv --shards-dir s", "--shards-dir or --shard"),
        ("ingest-videos raw --output v.csv --shards-dir s --num-shards 0", "at least 1"),
        ("ingest-videos raw --output v.csv --shard 2 --num-shards 2", "expected 0 to 1"),
        ("detect-scenes --videos v.csv --output s.csv --detector hsh", "did you mean 'hash'"),
        ("detect-scenes --videos v.csv --output s.csv --transitions of", "did you mean 'off'"),
        (
            "split-clips --scenes s.csv --output c.csv --store c --mode copy --fps 8",
            "leave out --fps",
        ),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    assert main(words.split()) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["raw"]


def test_shards_are_written_together_or_one_by_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "ingest-videos raw --output v.csv --shards-dir s --num-shards 3"
    assert main(words.split()) == 0
    assert capsys.readouterr().out == "ingest-videos: 2 of 2 files usable in 3 shards -> v.csv\n"
    assert len(read_table("v.csv", VIDEOS)) == 2
    for number in range(3):
        words = f"ingest-videos raw --output one/{number}.csv --shard {number} --num-shards 3"
        assert main(words.split()) == 0
        assert Path(f"one/{number}.csv").read_bytes() == Path(f"s/000{number}.csv").read_bytes()
    assert " in shard 2 of 3 -> one/2.csv" in capsys.readouterr().out


def test_shards_have_the_format_of_the_whole(place: Path) -> None:
    words = "ingest-videos raw --output v.parquet --shards-dir s --num-shards 2"
    assert main(words.split()) == 0
    assert sorted(path.name for path in Path("s").iterdir()) == ["0000.parquet", "0001.parquet"]
    parts = [read_table(path, VIDEOS) for path in sorted(Path("s").iterdir())]
    assert sum(map(len, parts)) == len(read_table("v.parquet", VIDEOS)) == 2


def test_shards_are_no_must(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest-videos", "raw", "--output", "v.csv"]) == 0
    assert capsys.readouterr().out == "ingest-videos: 2 of 2 files usable -> v.csv\n"
