from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opensora.core.versions import VERSIONS
from opensora.scorers.base import ClipFrames, Scorer, Scores
from opensora.scorers.runner import score_clips
from opensora.tables.columns import SCORES
from opensora.tables.io import read_table, write_table


@pytest.fixture(autouse=True)
def version_of_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERSIONS, "first", 3)


class FirstIndexScorer(Scorer):
    """Repeats what it was given."""

    columns = ("frames", "words")

    def __init__(self, needs_text: bool) -> None:
        self.needs_text = needs_text

    def choose(self, num_frames: int) -> list[int]:
        return [0, num_frames - 1]

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        words = [len(clip.text.split()) or np.nan for clip in batch]
        return {"frames": np.array([len(c.frames) for c in batch]), "words": np.array(words)}


@pytest.fixture
def clips(tiny_video: Path, tmp_path: Path) -> pd.DataFrame:
    """Good, marked before, lost, shorter than said, and eight good ones more."""
    (tmp_path / "text.mp4").write_text("no video " * 9)
    rows = [
        ("a", tiny_video, 48, "ok", ""),
        ("b", "", 0, "too_short", "0.2 s"),
        ("c", tmp_path / "gone.mp4", 48, "ok", ""),
        ("d", tiny_video, 60, "ok", ""),
        *((f"e{k}", tiny_video, 48, "ok", "") for k in range(8)),
    ]
    table = pd.DataFrame(rows, columns=["id", "path", "num_frames", "status", "detail"])
    return table.assign(kind="video", path=table["path"].map(str))


def test_every_clip_gets_a_row_and_failures_are_marked(clips: pd.DataFrame, tmp_path: Path) -> None:
    texts = {name: "Two  WORDS" for name in clips["id"] if name != "e7"}
    scores = score_clips(clips, "first", FirstIndexScorer(needs_text=True), texts)
    assert list(scores["id"]) == list(clips["id"])
    assert list(scores["status"]) == [
        *("ok", "too_short", "missing", "corrupt"),
        *(["ok"] * 7),
        "no_caption",
    ]
    assert scores["words"].iloc[0] == 2
    assert scores[scores["status"] != "ok"][["frames", "words"]].isna().all(axis=None)
    assert set(scores["scorer"]) == {"first-3"}
    write_table(scores, tmp_path / "scores.csv", SCORES)
    assert read_table(tmp_path / "scores.csv", SCORES)["status"].iloc[2] == "missing"


def test_a_number_that_is_none_marks_the_row(clips: pd.DataFrame) -> None:
    scores = score_clips(clips.iloc[:1], "first", FirstIndexScorer(needs_text=False))
    assert scores["status"].iloc[0] == "unscorable"
    assert scores["detail"].iloc[0] == "words can not be computed from this clip"
    assert scores["frames"].iloc[0] == 2


def test_an_empty_table_stays_a_table(clips: pd.DataFrame) -> None:
    scores = score_clips(clips.iloc[:0], "first", FirstIndexScorer(needs_text=False))
    assert list(scores.columns) == [*SCORES.columns, "frames", "words", "scorer"]
    assert scores.empty
