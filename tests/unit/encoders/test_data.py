from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.encoders.data import (
    draw_rows,
    fill,
    read_captioned_clips,
    read_captions,
    read_spread,
    trained_on,
)
from opensora.media.decode import Picture
from opensora.tables.columns import CAPTIONS, CLIPS
from opensora.tables.io import read_table, write_table


def marked(path: Path, table: object, ids: list[str], status: str, target: Path) -> Path:
    frame = read_table(path)
    frame.loc[frame["id"].isin(ids), "status"] = status
    write_table(frame, target)
    return target


def test_only_rows_that_are_good_in_both_tables_are_used(world, tmp_path: Path) -> None:
    clips = marked(world.clips, CLIPS, ["clip_00"], "too_short", tmp_path / "a.csv")
    captions = marked(world.captions, CAPTIONS, ["clip_01"], "no_caption", tmp_path / "b.csv")
    rows = read_captioned_clips([clips], [captions])
    assert rows["id"].tolist() == [f"clip_{k:02d}" for k in range(2, 14)]
    assert rows["text"][0] == "a red square moving right"


def test_the_order_of_the_shards_does_not_matter(world, tmp_path: Path) -> None:
    frame = read_table(world.clips)
    for name, part in (("a", frame[:5]), ("b", frame[5:])):
        write_table(part, tmp_path / f"{name}.csv")
    shards = [tmp_path / "b.csv", tmp_path / "a.csv"]
    whole = read_captioned_clips([world.clips], [world.captions])
    pd.testing.assert_frame_equal(read_captioned_clips(shards, [world.captions]), whole)


def test_no_good_row_is_one_clear_error(world, tmp_path: Path) -> None:
    ids = [f"clip_{k:02d}" for k in range(14)]
    captions = marked(world.captions, CAPTIONS, ids, "no_caption", tmp_path / "b.csv")
    with pytest.raises(TableError, match="no clip with status ok has a caption"):
        read_captioned_clips([world.clips], [captions])
    with pytest.raises(TableError, match="no row with status ok has a caption"):
        read_captions([captions])


def test_captions_are_different_and_sorted(world) -> None:
    assert read_captions([world.captions, world.captions]) == [
        "a blue square",
        "a blue square moving left",
        "a blue square moving right",
        "a red square",
        "a red square moving left",
        "a red square moving right",
    ]


def test_clips_show_their_first_caption_and_texts_are_of_all(world, tmp_path: Path) -> None:
    first = read_table(world.captions).assign(k=0)
    second = first[:2].assign(k=1, text="it turns")
    bad = first[2:3].assign(k=1, text="no text", status="caption_refused")
    write_table(pd.concat([first, second, bad]), tmp_path / "captions.csv", CAPTIONS)
    clips = read_captioned_clips([world.clips], [tmp_path / "captions.csv"])
    pd.testing.assert_frame_equal(clips, read_captioned_clips([world.clips], [world.captions]))
    texts = read_captions([tmp_path / "captions.csv"])
    assert texts == sorted([*read_captions([world.captions]), "it turns"])


def test_a_large_table_is_drawn_from_in_its_order_and_always_the_same() -> None:
    rows = pd.DataFrame({"id": range(100)})
    drawn = draw_rows(rows, 10, seed=1)["id"].tolist()
    assert len(drawn) == 10
    assert drawn == sorted(drawn)
    assert drawn == draw_rows(rows, 10, seed=1)["id"].tolist()
    assert drawn != draw_rows(rows, 10, seed=2)["id"].tolist()
    assert len(draw_rows(rows, 100, seed=1)) == 100


def test_frames_are_spread_from_the_first_to_the_last(world) -> None:
    row = read_table(world.clips).iloc[0]
    every = read_spread(row, 99)
    assert [picture.pixels.shape for picture in every] == [(32, 32, 3)] * 4
    # of frames 0..3, two: the first and the last
    for found, expected in zip(read_spread(row, 2), (every[0], every[3]), strict=True):
        np.testing.assert_array_equal(found.pixels, expected.pixels)


def test_a_clip_that_can_not_be_read_is_skipped_with_a_warning(world, tmp_path, caplog) -> None:
    row = read_table(world.clips).iloc[0].copy()
    row["path"] = str(tmp_path / "gone.mp4")
    assert read_spread(row, 2) is None
    assert "clip skipped id=clip_00" in caplog.text
    row["path"], row["sha256"] = read_table(world.clips).iloc[0]["path"], "0" * 64
    assert read_spread(row, 2) is None
    assert "changed since ingest" in caplog.text


def test_filling_half_the_size_averages_and_cuts_the_middle() -> None:
    frames = np.zeros((1, 8, 12, 3), np.uint8)
    frames[:, :, 2:10] = 200  # the middle 8 of 12 columns
    filled = fill([Picture(frames[0], (8, 12))], (4, 4))  # scaled to 4x6, columns 1..4 remain
    assert filled.shape == (1, 3, 4, 4)
    assert filled[0, :, :, 1:3].unique().tolist() == [200]


def test_what_was_seen_has_one_name_in_any_order() -> None:
    seen = trained_on("clips", ["b", "a"])
    assert seen == trained_on("clips", iter(["a", "b"]))
    assert seen["trained_on"]["clips"] == 2
    assert seen != trained_on("clips", ["a", "c"])
