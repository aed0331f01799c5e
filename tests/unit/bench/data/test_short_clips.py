"""`opensora bench curation --clips` on a tiny video, against this checkout; no clock is judged."""

import re
from pathlib import Path

import pytest

from opensora.bench.data.pieces import make_clips
from opensora.bench.data.short_clips import short_clips_summary, short_clips_table
from opensora.cli.main import main
from opensora.core.errors import OpenSoraError
from opensora.tables.columns import CLIPS, SCENES, VIDEOS
from opensora.tables.io import read_table

REPOSITORY = Path(__file__).parents[4]


def test_clips_are_as_many_as_asked_and_no_two_are_the_same(
    tiny_video: Path, tmp_path: Path
) -> None:
    clips = make_clips([str(tiny_video)], 5, tmp_path, workers=1)  # 48 frames: 2 of 24, 1 of 25 ...
    assert clips["num_frames"].tolist() == [24, 24, 25, 26, 27]
    assert clips["sha256"].nunique() == 5
    tables = [read_table(tmp_path / f"{t.name}.csv", t) for t in (VIDEOS, SCENES, CLIPS)]
    assert [len(table) for table in tables] == [1, 5, 5]
    assert set(tables[1]["video_id"]) == set(tables[0]["id"])


def test_a_video_that_is_too_short_for_so_many_is_told(tiny_video: Path, tmp_path: Path) -> None:
    with pytest.raises(OpenSoraError, match="100 different clips are more than these videos hold"):
        make_clips([str(tiny_video)], 100, tmp_path, workers=1)


def test_the_table_has_a_ratio_for_each_step() -> None:
    here = {"caption_clips": 1.0, "score_clips": 4.0, "build_manifest": 1.0}
    there = {"caption_clips": 1.0, "score_clips": 16.0, "build_manifest": 3.0}
    found = {"clips": 7, "frames": 70, "kept": {"here": 6}, "machine": "m", "ratio": 0.3}
    found["cpu_seconds"] = {"here": here, "there": there}
    rows = {line.split()[0]: line.split()[1:] for line in short_clips_table(found).splitlines()}
    assert rows["score_clips"] == ["4.0", "16.0", "0.25"]
    assert rows["all"] == ["6.0", "20.0", "0.30"]
    assert short_clips_summary(found) == (
        "7 clips, 70 frames, to a manifest of 6 in 6.0 CPU seconds, 0.30 of the other"
        " checkout's (goal 0.5) (m)"
    )


@pytest.mark.slow
def test_both_checkouts_take_the_same_clips_to_a_manifest(tiny_video: Path, capsys) -> None:
    words = [str(tiny_video), "--clips", "3", "--against", str(REPOSITORY)]
    assert main(["bench", "curation", *words]) == 0
    said = capsys.readouterr().out
    assert re.search(r"bench: 3 clips, 73 frames, to a manifest of \d in [\d.]+ CPU seconds", said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["videos", "--rounds", "2"], "--against and --rounds: give --clips N too"),
        (["videos", "--clips", "0"], "--clips: expected a whole number of at least 1, not '0'"),
        (["--long-video", "9", "--clips", "2"], "--clips: expected folders of videos"),
        (["videos", "--clips", "2", "--against", "/nowhere"], "/nowhere: no checkout of opensora"),
    ],
)
def test_mistakes_are_sentences(words: list[str], message: str, capsys) -> None:
    assert main(["bench", "curation", *words]) == 2
    assert message in capsys.readouterr().err
