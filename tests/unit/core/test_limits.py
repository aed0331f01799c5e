"""Each limit at its number and one above; small numbers stand in for large files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opensora.core import limits
from opensora.core.errors import ConfigError, TableError, VideoError
from opensora.curation.captions.beside import Beside
from opensora.curation.captions.caption_clips import NoCaption
from opensora.media.decode import read_frames
from opensora.media.probe import probe
from opensora.sampling.prompt_text import read_prompts, split_fields
from opensora.tables.io import read_table, write_table

PAGE = Path(__file__).parents[3] / "docs" / "security.md"


def nested(depth: int) -> str:
    return "[" * (depth - 1) + '{"text": "a [dog"}' + "]" * (depth - 1)


def test_the_depth_of_nested_objects() -> None:
    limits.check_depth(nested(limits.JSON_DEPTH))
    with pytest.raises(ValueError, match=f"nested {limits.JSON_DEPTH + 1} deep; at most"):
        limits.check_depth(nested(limits.JSON_DEPTH + 1))


def test_brackets_in_texts_are_no_depth() -> None:
    limits.check_depth('["' + "[" * 1000 + r"\"" + '"]')


def test_a_nested_caption_file_costs_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(nested(limits.JSON_DEPTH + 1))
    (tmp_path / "b.json").write_text('{"text": "a dog"}')
    beside = Beside()
    found = beside.spans(tmp_path / "a.mp4")
    assert isinstance(found, NoCaption)
    assert (found.status, "nested" in found.detail) == ("caption_unreadable", True)
    (span,) = beside.spans(tmp_path / "b.mp4")  # type: ignore[misc]
    assert span.text == "a dog"


def test_the_bytes_of_a_caption_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("a red dog")
    for size, is_read in ((9, True), (8, False)):
        monkeypatch.setattr(limits, "CAPTION_FILE_BYTES", size)
        assert isinstance(Beside().spans(tmp_path / "a.mp4"), list) == is_read


def test_the_bytes_of_a_prompt_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("a red dog")
    monkeypatch.setattr(limits, "CAPTION_FILE_BYTES", 9)
    assert read_prompts(tmp_path / "a.txt") == ["a red dog"]
    monkeypatch.setattr(limits, "CAPTION_FILE_BYTES", 8)
    with pytest.raises(ConfigError, match="at most 8 are read"):
        read_prompts(tmp_path / "a.txt")


def test_the_characters_of_a_prompt() -> None:
    text = "x" * limits.PROMPT_CHARACTERS
    assert split_fields(text) == (text, {})
    with pytest.raises(ConfigError, match="5001 characters"):
        split_fields(text + "x")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_the_rows_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    frame, path = pd.DataFrame({"text": ["a dog"] * 4}), tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        write_table(frame, path)
    rows = 5 if suffix == "csv" else 4  # the head counts
    monkeypatch.setattr(limits, "TABLE_ROWS", rows)
    assert len(read_table(path)) == 4
    monkeypatch.setattr(limits, "TABLE_ROWS", rows - 1)
    with pytest.raises(TableError, match=f"{rows} rows; at most {rows - 1}"):
        read_table(path)


def test_the_pixels_of_a_video(tiny_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VIDEO_PIXELS", 40 * 64)
    assert probe(tiny_video).num_frames == 48
    monkeypatch.setattr(limits, "VIDEO_PIXELS", 40 * 64 - 1)
    with pytest.raises(VideoError, match="64 x 40 pixels"):
        read_frames(tiny_video, [0])


def test_the_bytes_of_frames(tiny_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DECODED_BYTES", 3 * 40 * 64 * 3)
    assert read_frames(tiny_video, [0, 1, 2, 2]).shape == (4, 40, 64, 3)
    with pytest.raises(VideoError, match="4 frames of it"):
        read_frames(tiny_video, [0, 1, 2, 3])


def test_the_page_names_each_number() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for number in (limits.TABLE_ROWS, limits.CAPTION_CHARACTERS, limits.REPLY_CHARACTERS):
        assert f"{number:,}" in page
    for number in (limits.PROMPT_CHARACTERS, limits.DECODED_BYTES):
        assert f"{number:,}" in page
    assert f"| {limits.JSON_DEPTH} |" in page
    assert f"{limits.CAPTION_FILE_BYTES >> 20} MiB" in page
    for pixels in (limits.PICTURE_PIXELS, limits.VIDEO_PIXELS):
        assert f"2^{int(np.log2(pixels))}" in page
