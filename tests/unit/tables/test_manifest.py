from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.core.text import counted
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table
from opensora.tables.manifest import read_manifest

# as the reference's datautil writes it
REFERENCE = """path,text,num_frames,height,width,aspect_ratio,fps,resolution,aes
data/a b.mp4,a dog runs,48,360,640,0.5625,24.0,230400,5.1
data/c.jpg,,1.0,512,512,1.0,,262144,4.9
"""


def test_a_csv_of_the_reference_becomes_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    path.write_text(REFERENCE)
    table = read_manifest(path)
    assert list(table.columns) == [*MANIFEST.columns, "aes"]
    assert table["num_frames"].tolist() == [48, 1]
    assert table["end"].tolist() == [2.0, 0.0]
    assert table["text"].tolist() == ["a dog runs", ""]
    assert table["text_len"].tolist() == [3, 0]
    assert table["fps"].tolist() == [24.0, 24.0]
    assert table["id"].is_unique
    assert table["id"][0].startswith("a-b-")


def test_the_smallest_table_will_do_and_our_own_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "small.csv"
    path.write_text("path,text,num_frames,height,width\nx.mp4,hi,24,100,200\n")
    small = read_manifest(path)
    derived = ["aspect_ratio", "resolution", "fps", "end", "split"]
    assert small.loc[0, derived].tolist() == [0.5, 20000, 24.0, 1.0, "train"]
    write_table(small, tmp_path / "own.parquet", MANIFEST)
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "own.parquet"), small)


@pytest.mark.parametrize(("rates", "row"), [(",,", 2), (",30,", 4), (",30,25", None)])
def test_an_assumed_rate_is_said_with_its_rows(tmp_path, caplog, rates, row) -> None:
    path = tmp_path / "meta.csv"
    rates = rates.split(",")
    lines = ["path,text,num_frames,height,width,fps"]
    lines += [f"image.png,hi,1,8,8,{rates[0]}"]
    lines += [f"x{k}.mp4,hi,24,8,8,{rate}" for k, rate in enumerate([rates[1], "12", rates[2]])]
    path.write_text("\n".join(lines) + "\n")
    with caplog.at_level("WARNING"):
        table = read_manifest(path)
    if row is None:
        assert caplog.text == ""
        return
    count = rates.count("") - 1  # an image needs none
    assert (
        f"fps has no value in {counted(count, 'row')} of videos, the first is row {row}"
        in caplog.text
    )
    assert f"(x{row - 2}.mp4); 24 frames a second are assumed" in caplog.text
    assert table["fps"][row - 1] == 24.0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("meta.jsonl", '{"video": "x.mp4", "caption": "hi", %s}\n\n'),
        ("meta.json", '[{"path": "x.mp4", "cap": ["hi", "ho"], "video": "no", %s}]'),
    ],
)
def test_json_and_other_spellings_are_read(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content % '"num_frames": 24, "height": 100, "width": 200')
    assert read_manifest(path).loc[0, ["path", "text", "end"]].tolist() == ["x.mp4", "hi", 1.0]


def test_breaks_inside_the_texts_of_json_lines_end_no_line(tmp_path: Path) -> None:
    texts = ["slowly,\u2028then faster", "on\u2029a table", "at night\x85in rain"]
    row = '{"path": "%s.mp4", "text": "%s", "num_frames": 24, "height": 8, "width": 8}\n'
    path = tmp_path / "meta.jsonl"
    path.write_text("".join(row % each for each in enumerate(texts)), encoding="utf-8")
    assert len(read_manifest(path)) == 3


def test_lines_that_are_no_objects_are_named(tmp_path: Path) -> None:
    path = tmp_path / "meta.jsonl"
    path.write_text("[1, 2]\n")
    with pytest.raises(TableError, match="expected objects, one a row"):
        read_manifest(path)


def test_where_sizes_alone_count_good_rows_without_texts_will_do(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text("id,path,num_frames,height,width,status\na,a,8,4,4,ok\nb,b,0,0,0,too_short\n")
    assert read_manifest(path, needs_text=False)["id"].tolist() == ["a"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("path,num_frames,height,width\nx,1,1,1\n", "column 'text' is missing"),
        ("path,text,num_frames,height,width\nx,a,8,-4,8\n", "row 1: height is '-4'"),
        ("path,text,num_frames,height,width\nx,a,8,4,8\ny,b,,4,8\n", "row 2: num_frames is 'nan'"),
        ("path,text,num_frames,height,width\nx,a,8,4,wide\n", "row 1: width is 'wide'"),
        ("path,text,num_frames,height,width\nx,a,8.5,4,4\n", "row 1: num_frames is '8.5'"),
    ],
)
def test_tables_that_can_not_be_meant_are_refused(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(TableError, match=sentence):
        read_manifest(path)
