"""Several captions of a clip: where they come from, how they are numbered, what is told."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opensora.core.errors import ConfigError
from opensora.curation.captions.caption_clips import Captioner, Clip, caption_clips
from opensora.curation.captions.sidecar import SidecarCaptioner
from opensora.curation.captions.template import TemplateCaptioner
from opensora.tables.columns import CAPTIONS, CLIPS
from opensora.tables.io import read_table, write_table


def clips_of(folder: Path, *names: str) -> pd.DataFrame:
    rows = [
        {**dict.fromkeys(CLIPS.columns, 0), "id": Path(name).stem, "source": str(folder / name)}
        for name in names
    ]
    return pd.DataFrame(rows).assign(path="p", kind="video", status="ok", detail="", end=2.0)


def rows_of(table: pd.DataFrame) -> list[tuple[str, int, str, str]]:
    return list(table[["id", "k", "text", "status"]].itertuples(index=False, name=None))


@pytest.fixture
def sidecar(tmp_path: Path) -> Path:
    """Rows of one span, of its neighbour, and of another film."""
    path = tmp_path / "captions.csv"
    path.write_text(
        "path,start,end,text\n"
        "a.mp4,0,2,a red box\n"
        "a.mp4,2,4,a green box\n"
        "a.mp4,0,2,\n"
        "a.mp4,0,2,the box slides\n"
        "b.mp4,,,one dog\n"
        "a.mp4,0,2,it is a box\n"
    )
    return path


def test_rows_of_the_clips_span_are_its_captions_and_bad_ones_follow(
    tmp_path: Path, sidecar: Path
) -> None:
    captioner = SidecarCaptioner([sidecar])
    table = caption_clips(clips_of(tmp_path, "a.mp4", "b.mp4"), captioner, per_clip=3)
    assert rows_of(table) == [
        ("a", 0, "a red box", "ok"),
        ("a", 1, "the box slides", "ok"),
        ("a", 2, "", "no_caption"),
        ("b", 0, "one dog", "ok"),
    ]
    assert captioner.remarks() == ["1 captions are spare: the first 3 of a span count"]


def test_one_a_clip_is_the_table_of_always(tmp_path: Path, sidecar: Path) -> None:
    captioner = SidecarCaptioner([sidecar])
    table = caption_clips(clips_of(tmp_path, "a.mp4", "b.mp4"), captioner)
    assert list(table.columns) == list(CAPTIONS.columns)
    assert table["text"].tolist() == ["a red box", "one dog"]
    assert captioner.remarks() == ["3 captions are spare: the first of a span counts"]


def test_a_bad_first_caption_leaves_the_place_to_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("video;cap\na.mp4;photo.jpg\na.mp4;a dog\nb.mp4;photo.jpg\n")
    captioner = SidecarCaptioner([tmp_path / "meta.csv"])
    table = caption_clips(clips_of(tmp_path, "a.mp4", "b.mp4", "c.mp4"), captioner, per_clip=2)
    assert rows_of(table) == [
        ("a", 0, "a dog", "ok"),
        ("a", 1, "", "empty_caption"),
        ("b", 0, "", "empty_caption"),
        ("c", 0, "", "no_caption"),
    ]
    assert table.loc[1, "detail"] == "nothing is left of 'photo.jpg' after cleaning"


def test_files_beside_the_source_have_a_caption_a_line_or_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\na red box\r\n  \nit slides\n")
    (tmp_path / "b.json").write_text(json.dumps({"captions": ["a dog", "it runs", "it barks"]}))
    objects = [{"text": "early", "start": 0, "end": 2}, {"text": "late", "start": 2, "end": 9}]
    (tmp_path / "c.json").write_text(json.dumps([*objects, objects[0] | {"text": "soon"}]))
    (tmp_path / "d.txt").write_text(" \n")
    clips = clips_of(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    table = caption_clips(clips, SidecarCaptioner(), per_clip=2)
    assert rows_of(table) == [
        ("a", 0, "a red box", "ok"),
        ("a", 1, "it slides", "ok"),
        ("b", 0, "a dog", "ok"),
        ("b", 1, "it runs", "ok"),
        ("c", 0, "early", "ok"),
        ("c", 1, "soon", "ok"),
        ("d", 0, "", "no_caption"),
    ]
    one = caption_clips(clips, SidecarCaptioner())
    assert one["text"].tolist() == ["a red box it slides", "a dog", "early", ""]


def test_a_marked_clip_keeps_its_mark_in_one_row(tmp_path: Path, sidecar: Path) -> None:
    clips = clips_of(tmp_path, "a.mp4", "b.mp4")
    clips.loc[0, ["status", "detail"]] = ["too_short", "1 frame"]
    table = caption_clips(clips, SidecarCaptioner([sidecar]), per_clip=4)
    assert rows_of(table) == [("a", 0, "", "too_short"), ("b", 0, "one dog", "ok")]


class Failing(Captioner):
    gives_several = True

    def caption(self, clips: list[Clip]) -> list[str]:
        raise AssertionError

    def captions(self, clips: list[Clip], most: int) -> list[list[str]]:
        if any(clip.id == "a" for clip in clips):
            raise AttributeError("of a library")
        return [["a dog", "a cat"] for _ in clips]


def test_what_raises_over_a_clip_costs_that_clip(tmp_path: Path) -> None:
    table = caption_clips(clips_of(tmp_path, "a.mp4", "b.mp4"), Failing(), per_clip=2)
    assert rows_of(table) == [
        ("a", 0, "", "unexpected_error"),
        ("b", 0, "a dog", "ok"),
        ("b", 1, "a cat", "ok"),
    ]


LISTS = [
    {"file_name": "a.mp4", "captions": ["a red box", "it slides", "spare"]},
    {"file_name": "b.mp4", "captions": []},
]


@pytest.mark.parametrize("name", ["meta.jsonl", "meta.json", "meta.parquet"])
def test_lists_in_tables_are_several_captions_and_their_first_is_one(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(LISTS), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(LISTS))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in LISTS))
    clips = clips_of(tmp_path, "a.mp4", "b.mp4")
    captioner = SidecarCaptioner([path])
    assert rows_of(caption_clips(clips, captioner, per_clip=2)) == [
        ("a", 0, "a red box", "ok"),
        ("a", 1, "it slides", "ok"),
        ("b", 0, "", "no_caption"),
    ]
    assert captioner.remarks() == ["1 captions are spare: the first 2 of a span count"]
    assert caption_clips(clips, SidecarCaptioner([path]))["text"].tolist() == ["a red box", ""]
    assert read_table(path)["captions"].tolist() == ["a red box", ""]


def test_a_parquet_table_of_panda_70m_has_lists(tmp_path: Path) -> None:
    times = [["0:00:00.000", "0:00:02.000"], ["0:00:02.000", "0:00:04.000"]]
    row = {"videoID": "a", "timestamp": times, "caption": ["a dog runs", "it is a cat"]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "panda.parquet")
    table = caption_clips(
        clips_of(tmp_path, "a.mp4"), SidecarCaptioner([tmp_path / "panda.parquet"])
    )
    assert table["text"].tolist() == ["a dog runs"]


@pytest.mark.parametrize("per_clip", [0, 2])
def test_a_number_without_effect_is_refused(tmp_path: Path, per_clip: int) -> None:
    with pytest.raises(ConfigError, match=f"--per-clip {per_clip}: expected at least 1"):
        caption_clips(clips_of(tmp_path, "a.mp4"), TemplateCaptioner(), per_clip=per_clip)


@pytest.mark.parametrize("name", ["captions.parquet", "captions.csv"])
def test_the_table_is_kept_with_its_numbers(tmp_path: Path, sidecar: Path, name: str) -> None:
    captioner = SidecarCaptioner([sidecar])
    table = caption_clips(clips_of(tmp_path, "a.mp4", "b.mp4"), captioner, per_clip=2)
    write_table(table, tmp_path / name, CAPTIONS)
    back = read_table(tmp_path / name, CAPTIONS)
    assert rows_of(back) == rows_of(table)
    assert str(back["k"].dtype) == "int64"
