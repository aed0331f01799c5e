from collections.abc import Sequence

import pandas as pd
import pytest

from opensora.core.errors import ConfigError
from opensora.curation.captions.caption_clips import Captioner, Clip, caption_clips
from opensora.tables.columns import CLIPS

TEXTS = {
    "a": "The video shows a red circle that moves to the right.",
    "b": "ein roter kreis bewegt sich nach rechts",
    "c": "dog",
    "d": "x" * 100_000,
    "e": "<br>\x00",
    "g": "photo.jpg",
}


class Table(Captioner):
    def caption(self, clips: Sequence[Clip]) -> list[str]:
        return [TEXTS[clip.id] for clip in clips]


@pytest.fixture
def clips() -> pd.DataFrame:
    rows = [{**dict.fromkeys(CLIPS.columns, 0), "id": name, "status": "ok"} for name in TEXTS]
    rows.append({**rows[0], "id": "f", "status": "corrupt", "detail": "old mark"})
    return pd.DataFrame(rows).assign(path="p", source="s.mp4", kind="video")


def test_each_text_gets_its_own_mark(clips: pd.DataFrame) -> None:
    table = caption_clips(clips, Table(), languages=["en"]).set_index("id")
    assert table["status"].to_dict() == {
        "a": "ok",
        "b": "caption_language",
        "c": "ok",  # one word tells no language
        "d": "caption_too_long",
        "e": "no_caption",
        "g": "empty_caption",
        "f": "corrupt",
    }
    assert table.loc["a", "caption"] == "A red circle that moves to the right."
    assert table.loc["a", "text"] == "a red circle that moves to the right."
    assert table.loc["a", "text_len"] == 8
    assert table.loc["g", "detail"] == "nothing is left of 'photo.jpg' after cleaning"
    assert table.loc["d", "detail"].startswith("the caption has 100000 characters")
    assert table.loc["b", "detail"].startswith("the caption is in 'de'")


def test_without_languages_all_stay_and_an_unknown_code_is_told(clips: pd.DataFrame) -> None:
    assert caption_clips(clips, Table())["status"].tolist()[1] == "ok"
    with pytest.raises(ConfigError, match="--languages english: not an ISO 639 code"):
        caption_clips(clips, Table(), languages=["english"])


class Failing(Table):
    def caption(self, clips: Sequence[Clip]) -> list[str]:
        if any(clip.id == "c" for clip in clips):
            raise AttributeError("of a library")
        return super().caption(clips)


def test_a_captioner_that_raises_over_a_clip_costs_that_clip(clips: pd.DataFrame) -> None:
    table = caption_clips(clips, Failing()).set_index("id")
    assert table.loc["c", "status"] == "unexpected_error"
    assert table.loc["c", "detail"] == "AttributeError: of a library"
    assert table.loc["a", "status"] == "ok"


def test_a_text_that_can_not_be_cleaned_costs_its_clip(
    clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clean(text: str) -> str:
        if text == "dog":
            raise RecursionError
        return text

    monkeypatch.setattr("opensora.curation.captions.caption_clips.clean_caption", clean)
    table = caption_clips(clips, Table()).set_index("id")
    assert table.loc["c", "status"] == "unexpected_error"
    assert table.loc["a", "status"] == "ok"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("a dog. " * 714 + "x", "ok"),
        ("x" * 5_001, "caption_too_long"),
        ("[" * 50_001, "caption_too_long"),
        ("a red\0dog", "caption_encoding"),
    ],
)
def test_limits_of_a_text_cost_its_own_row(
    clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, text: str, status: str
) -> None:
    monkeypatch.setitem(TEXTS, "c", text)
    table = caption_clips(clips, Table()).set_index("id")
    assert table.loc["c", "status"] == status
    assert table.loc["a", "status"] == "ok"
