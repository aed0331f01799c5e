import logging
from pathlib import Path

import open_clip
import pytest

from opensora.models.text_encoder import ClassEncoder
from opensora.models.text_encoder.clip import ClipTextEncoder
from opensora.models.text_encoder.t5 import T5Encoder
from opensora.text.cut import Cut, count_cut, warn_cut
from tests.tiny_encoders import save_clip, save_t5

SCENE = (
    "a wide static shot of a kitchen in the morning with a wooden table, four chairs, a white lamp,"
    " a window with green curtains and a small plant on the sill,"
)
ENDS = ("a cat jumps on the table", "a dog sleeps", "a man pours milk", "a woman leaves")
TEXTS = [f"{SCENE} and then {ENDS[k % 4]} {k}" for k in range(12)]


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> T5Encoder:
    return T5Encoder(str(save_t5(tmp_path_factory.mktemp("t5"))), model_max_length=120)


def test_texts_that_differ_only_behind_the_cut_are_told(t5: T5Encoder) -> None:
    cut = count_cut(t5, [*TEXTS, *TEXTS])
    # a byte is a token, and one marks the end
    lost = sum(len(text.encode()) + 1 - 120 for text in TEXTS)
    assert cut == Cut(texts=12, cut=12, tokens=lost, alike=12, length=120)
    assert cut.sentence() == (
        f"12 of 12 captions are cut after 120 tokens and lose {lost} tokens,"
        " 12 are equal to another one up to there"
    )


def test_the_last_token_that_is_read_is_the_end_of_the_text(t5: T5Encoder) -> None:
    fits, cut_alike, cut_else = "x" * 119, "x" * 120, "y" * 120
    assert count_cut(t5, [fits]) == Cut(1, 0, 0, 0, 120)
    found = count_cut(t5, [fits, cut_alike, cut_else, "short", "other"])
    assert found == Cut(texts=5, cut=2, tokens=2, alike=2, length=120)
    ids, _ = t5.tokenize([fits, cut_alike])
    assert ids[0].equal(ids[1])
    assert "alike" not in found.sentence()


def test_clip_counts_its_marks_and_open_clip_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = ClipTextEncoder(str(save_clip(tmp_path / "clip")), model_max_length=16)
    assert count_cut(clip, ["abcd", "a" * 20])[:3] == (2, 1, 6)  # 20 letters and two marks
    monkeypatch.setattr("opensora.models.text_encoder.clip._is_open_clip", lambda _: True)
    clip.tokenizer = open_clip.SimpleTokenizer()
    (ids,) = clip.whole_ids(["a red chair"])
    row = clip.tokenizer(["a red chair"], context_length=16)[0].tolist()
    assert row[: len(ids)] == ids
    assert set(row[len(ids) :]) == {0}


def test_a_warning_is_due_above_a_share(caplog: pytest.LogCaptureFixture) -> None:
    few, many = Cut(1_000, 10, 99, 0, 120), Cut(1_000, 11, 99, 0, 120)
    with caplog.at_level(logging.WARNING):
        assert warn_cut(few) == ""
        assert not caplog.messages
        assert warn_cut(many) == many.sentence()
        assert warn_cut(few, what="prompts", most=0.0).startswith("10 of 1000 prompts are cut")
    assert len(caplog.messages) == 2


def test_nothing_is_cut_of_classes() -> None:
    cut = count_cut(ClassEncoder(num_classes=3), ["1", "2", "1"])
    assert cut == Cut(2, 0, 0, 0, 0)
    assert (cut.sentence(), warn_cut(cut, most=0.0)) == ("", "")
