"""Files beside a source as programs and models write them; each speaks of its own source only."""

import json
from pathlib import Path

import pandas as pd
import pytest

from opensora.curation.captions.caption_clips import Clip, NoCaption, caption_clips
from opensora.curation.captions.sidecar import SidecarCaptioner
from opensora.tables.columns import CLIPS

TEXT = "A café chair\u2019s red leg turns slowly."
ENCODINGS = {"utf8": "utf-8", "utf8_bom": "utf-8-sig", "utf16": "utf-16", "cp1252": "cp1252"}
OBJECTS = {
    "good": b'{"text": "a red chair turns"}',
    "bom": b"\xef\xbb\xbf" + b'{"text": "a red chair turns"}',
    "download": b'{"key": "000000012", "caption": "a red chair turns", "meta": {}}',
    "several": b'{"captions": ["a red chair turns", "a chair"]}',
    "camera": b'{"device": "cam", "gps": [[0.0, 0.0]], "iso": 100}',
    "empty": b"",
    "broken": b'{"text": "a red chair tu',
    "null": b'{"text": null}',
    "numbers": b"[1, 2]",
    "soon": b'{"text": "a", "start": "soon"}',
    "deep": b"[" * 100_000,
}


def captions_of(folder: Path, names: list[str]) -> pd.DataFrame:
    rows = [
        {**dict.fromkeys(CLIPS.columns, 0), "id": Path(name).stem, "source": str(folder / name)}
        for name in names
    ]
    clips = pd.DataFrame(rows).assign(path="p", kind="video", status="ok", detail="", end=2.0)
    return caption_clips(clips, SidecarCaptioner()).set_index("id")


def test_encodings_are_told_by_their_mark_or_are_a_reason(tmp_path: Path) -> None:
    for name, encoding in ENCODINGS.items():
        (tmp_path / f"{name}.txt").write_bytes(TEXT.encode(encoding))
    (tmp_path / "capitals.TXT").write_text(TEXT, encoding="utf-8")
    (tmp_path / "lost.txt").write_text("A caf\ufffd chair", encoding="utf-8")
    found = captions_of(
        tmp_path, [*(f"{name}.mp4" for name in ENCODINGS), "capitals.MP4", "lost.mp4"]
    )
    for name in ("utf8", "utf8_bom", "utf16", "capitals"):
        assert (name, found.loc[name, "caption"], found.loc[name, "status"]) == (name, TEXT, "ok")
    assert found.loc[["cp1252", "lost"], "status"].tolist() == ["caption_encoding"] * 2
    assert "cp1252.txt: byte 5 is not UTF-8; it looks like CP1252" in found.loc["cp1252", "detail"]
    assert "character 5 of the caption of" in found.loc["lost", "detail"]
    assert not found["caption"].str.contains("\ufffd").any()


def test_a_foreign_object_costs_its_own_video_alone(tmp_path: Path) -> None:
    for name, content in OBJECTS.items():
        (tmp_path / f"{name}.json").write_bytes(content)
    found = captions_of(tmp_path, [f"{name}.mp4" for name in OBJECTS])
    good = ["good", "bom", "download", "several"]
    assert (found.loc[good, "caption"] == "a red chair turns").all()
    others = found.drop(good)
    assert set(others["status"]) == {"caption_unreadable"}
    for name, detail in others["detail"].items():
        assert str(tmp_path / f"{name}.json") in detail
    assert "the file is empty" in found.loc["empty", "detail"]
    assert "it has device, gps, iso" in found.loc["camera", "detail"]


def test_replies_of_models_are_captions_or_reasons(tmp_path: Path) -> None:
    answer = "A red chair turns slowly."
    replies = {
        "thought": f"<think>I see a chair, maybe red.</think>\n\n{answer}",
        "fence": f"```json\n{json.dumps({'caption': answer})}\n```",
        "heading": f"# Description\n\n{answer}",
        "long_thought": f"<think>{'hm ' * 5_000}</think>{answer}",
        "no_thought_only": "<think>Okay, the user wants a caption. Let me look",
        "no_refusal": "I'm sorry, but I can't assist with that request.",
    }
    for name, reply in replies.items():
        (tmp_path / f"{name}.txt").write_text(reply)
    found = captions_of(tmp_path, [f"{name}.mp4" for name in replies])
    is_good = ~found.index.str.startswith("no_")
    assert (found["caption"][is_good] == answer).all()
    assert found["status"][~is_good].tolist() == ["caption_unfinished", "caption_refused"]
    assert "the model refused: \"I'm sorry" in found.loc["no_refusal", "detail"]


def test_the_text_goes_before_the_object_and_small_letters_before_capitals(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "object"}')
    (tmp_path / "a.TXT").write_text("capitals")
    clip = Clip("c", Path("c.mp4"), tmp_path / "a.mp4", "video", 0.0, 2.0, "")
    assert SidecarCaptioner().caption([clip]) == ["capitals"]
    (tmp_path / "a.txt").write_text("small")
    assert SidecarCaptioner().caption([clip]) == ["small"]


def test_a_file_that_can_not_be_opened_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("words")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    clip = Clip("c", Path("c.mp4"), tmp_path / "a.mp4", "video", 0.0, 2.0, "")
    assert SidecarCaptioner().caption([clip]) == [
        NoCaption("caption_unreadable", f"{tmp_path / 'a.txt'}: Permission denied")
    ]
