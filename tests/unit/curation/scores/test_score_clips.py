from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opensora.core.versions import VERSIONS
from opensora.curation.scores.score_clips import score_clips
from opensora.curation.scores.scorer import ClipFrames, Scorer, Scores
from opensora.curation.scores.seen import Seen
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
    facts = {"kind": "video", "fps": 24.0, "source": ""}
    return table.assign(path=table["path"].map(str), sha256=table["id"], **facts)


def test_every_clip_gets_a_row_and_failures_are_marked(clips: pd.DataFrame, tmp_path: Path) -> None:
    texts = {name: "Two  WORDS" for name in clips["id"] if name != "e7"}
    scores = score_clips(clips, {"first": FirstIndexScorer(needs_text=True)}, texts)["first"]
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
    scores = score_clips(clips.iloc[:1], {"first": FirstIndexScorer(needs_text=False)})["first"]
    assert scores["status"].iloc[0] == "unscorable"
    assert scores["detail"].iloc[0] == "words can not be computed from this clip"
    assert scores["frames"].iloc[0] == 2


def test_an_empty_table_stays_a_table(clips: pd.DataFrame) -> None:
    scores = score_clips(clips.iloc[:0], {"first": FirstIndexScorer(needs_text=False)})["first"]
    assert list(scores.columns) == [*SCORES.columns, "frames", "words", "scorer"]
    assert scores.empty


class OffsetScorer(Scorer):
    """Tells the red value of one frame, and counts its calls."""

    columns = ("red",)

    def __init__(self, index: int, needs_text: bool = False, weights: str = "w") -> None:
        self._index, self.needs_text, self._weights = index, needs_text, weights
        self.judged = 0

    def identity(self) -> str:
        return self._weights

    def choose(self, num_frames: int) -> list[int]:
        return [self._index]

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        self.judged += len(batch)
        return {"red": np.array([float(clip.frames[0, 0, 0, 0]) for clip in batch])}


def test_one_decode_serves_all_scorers(
    clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERSIONS, "second", 1)
    reads: list[list[int]] = []

    def read(path: str, indices: list[int], **_: object) -> list[Seen]:
        reads.append(indices)
        return [Seen(np.full((1, 1, 3), index, np.uint8)) for index in indices]

    monkeypatch.setattr("opensora.curation.scores.pixels.read_seen", read)
    scorers = {"first": OffsetScorer(40), "second": OffsetScorer(7)}
    tables = score_clips(clips.iloc[:1], scorers)
    assert reads == [[7, 40]]
    assert tables["first"]["red"].tolist() == [40.0]
    assert tables["second"]["red"].tolist() == [7.0]


def test_the_store_spares_known_clips_and_knows_what_a_score_depends_on(
    clips: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"

    def judged(table: pd.DataFrame, weights: str = "w", text: str | None = None) -> int:
        scorer = OffsetScorer(3, needs_text=text is not None, weights=weights)
        captions = dict.fromkeys(table["id"], text or "")
        scores = score_clips(table, {"first": scorer}, captions, store)["first"]
        plain = score_clips(
            table,
            {"first": OffsetScorer(3, needs_text=text is not None)},
            captions,
        )["first"]
        pd.testing.assert_frame_equal(scores, plain)
        return scorer.judged

    good = clips[clips["id"].isin(["a", "e0", "e1"])]
    assert judged(good.iloc[:2]) == 2
    assert judged(good.iloc[:2]) == 0
    assert judged(good) == 1  # the new clip alone
    assert judged(good.assign(sha256=["other", "e0", "e1"])) == 1  # a clip of other bytes
    assert judged(good, weights="v") == 3
    monkeypatch.setitem(VERSIONS, "first", 4)
    assert judged(good) == 3
    assert judged(good, text="one dog") == 3
    assert judged(good, text="two dogs") == 3
    assert judged(good, text="one dog") == 0
    for path in store.rglob("*.jsonl"):
        path.write_text("{ damaged")
    assert judged(good) == 3


def test_failures_are_not_kept(clips: pd.DataFrame, tmp_path: Path) -> None:
    lost = clips[clips["id"] == "c"]
    for _ in range(2):
        scores = score_clips(lost, {"first": OffsetScorer(0)}, store=tmp_path / "store")["first"]
        assert scores["status"].tolist() == ["missing"]


class FailingScorer(FirstIndexScorer):
    """Raises over one clip, which it knows by its words."""

    def score(self, batch: Sequence[ClipFrames]) -> Scores:
        if any(clip.text == "bad" for clip in batch):
            raise IndexError("of a library")
        return super().score(batch)


def test_a_scorer_that_raises_over_a_clip_costs_that_clip(clips: pd.DataFrame) -> None:
    texts = {name: "bad" if name == "e1" else "two words" for name in clips["id"]}
    scores = score_clips(clips, {"first": FailingScorer(needs_text=True)}, texts)["first"]
    bad = scores.set_index("id").loc["e1"]
    assert (bad["status"], bad["detail"]) == ("unexpected_error", "IndexError: of a library")
    assert np.isnan(bad["frames"])
    assert (scores["status"] == "ok").sum() == 8


def test_a_decoder_that_raises_costs_the_clip(
    clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = clips[clips["status"] == "ok"]["path"].iloc[0]

    def fail(path: str, indices: Sequence[int], **_: object) -> list[Seen]:
        if path == bad:
            raise SystemError(path)
        return [Seen(np.zeros((8, 8, 3), np.uint8)) for _ in indices]

    monkeypatch.setattr("opensora.curation.scores.pixels.read_seen", fail)
    scores = score_clips(clips, {"first": FirstIndexScorer(needs_text=False)})["first"]
    assert (scores["status"] == "unexpected_error").tolist() == (
        (clips["path"] == bad) & (clips["status"] == "ok")
    ).tolist()
