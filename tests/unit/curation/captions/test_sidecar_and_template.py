import json
from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import TableError
from opensora.curation.captions.caption_clips import Clip, caption_clips
from opensora.curation.captions.sidecar import SidecarCaptioner
from opensora.curation.captions.template import TemplateCaptioner


def clip(source: Path, start: float = 0.0, end: float = 2.0, kind: str = "video") -> Clip:
    return Clip("c", Path("c.mp4"), source, kind, start, end, "")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "captions.csv"
    path.write_text(
        "path,start,end,text\n"
        "v/a.mp4,0.0,2.0,first\n"
        "v/a.mp4,2.0,5.0,second\n"
        "v/b.mp4,,,whole\n"
        'i/c.png,,,"a still, with comma"\n'
    )
    return path


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.0, 2.0, "first"),
        (1.5, 3.5, "second"),  # 0.5 s against 1.5 s
        (4.0, 6.0, "second"),  # half of the clip is covered
        (4.9, 6.9, ""),  # a neighbour's caption by 0.1 s is no caption
        (7.0, 9.0, ""),
    ],
)
def test_the_span_that_shares_most_gives_the_text(
    table: Path, start: float, end: float, expected: str
) -> None:
    captioner = SidecarCaptioner([table])
    assert captioner.caption([clip(table.parent / "v" / "a.mp4", start, end)]) == [expected]


def test_rows_without_times_speak_of_the_whole_file(table: Path) -> None:
    captioner = SidecarCaptioner([table])
    clips = [
        clip(table.parent / "v" / "b.mp4", 100.0, 102.0),
        clip(table.parent / "i" / "c.png", 0.0, 0.0, kind="image"),
    ]
    assert captioner.caption(clips) == ["whole", "a still, with comma"]


def test_sources_are_found_from_another_working_folder(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table.parent / "v").mkdir()
    monkeypatch.chdir(table.parent / "v")
    assert SidecarCaptioner([Path("../captions.csv")]).caption([clip(Path("a.mp4"))]) == ["first"]


def test_files_beside_the_source_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("all of a\n")
    spans = [{"start": 0, "end": 1, "text": "early"}, {"start": 1, "end": 9, "text": "late"}]
    (tmp_path / "b.json").write_text(json.dumps(spans))
    captioner = SidecarCaptioner()
    clips = [clip(tmp_path / name, 3.0, 5.0) for name in ("a.mp4", "b.mp4", "c.mp4")]
    assert captioner.caption(clips) == ["all of a", "late", ""]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("head", ["file_name;caption", "video;cap", "path;text"])
def test_tables_of_spreadsheets_and_other_tools_are_read(
    tmp_path: Path, head: str, encoding: str
) -> None:
    rows = f"{head}\na.mp4;a café, slowly\n"
    (tmp_path / "CAPTIONS.CSV").write_bytes(rows.encode(encoding))
    captioner = SidecarCaptioner([tmp_path / "CAPTIONS.CSV"])
    assert captioner.caption([clip(tmp_path / "a.mp4")]) == ["a café, slowly"]


def test_faulty_sidecars_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("where,text\na,b\n")
    with pytest.raises(TableError, match="'path'"):
        SidecarCaptioner([tmp_path / "bad.csv"])
    with pytest.raises(TableError, match="no such table"):
        SidecarCaptioner([tmp_path / "none.csv"])


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("ApplyEyeMakeup", "video of apply eye makeup"),
        ("playing_the-guitar", "video of playing the guitar"),
        ("___", ""),
    ],
)
def test_the_template_names_the_folder(folder: str, expected: str) -> None:
    assert TemplateCaptioner().caption([clip(Path("/data") / folder / "v_01.avi")]) == [expected]


def test_a_table_of_panda_70m_is_read(tmp_path: Path) -> None:
    path = tmp_path / "panda.csv"
    path.write_text(
        "videoID,url,timestamp,caption,matching_score\n"
        "abc,https://x,\"[['0:00:02.500', '0:00:05.000'], ['0:01:00.0', '0:01:04.0']]\","
        "\"['a dog runs', 'it is a cat']\",\"[0.4, 0.3]\"\n"
    )
    captioner = SidecarCaptioner([path])
    source = tmp_path / "videos" / "abc.mp4"
    assert captioner.caption([clip(source, 2.0, 5.0), clip(source, 60.0, 64.0)]) == [
        "a dog runs",
        "it is a cat",
    ]
    assert captioner.caption([clip(source, 10.0, 12.0)]) == [""]
    path.write_text("videoID,timestamp,caption\nabc,__import__('os'),['a']\n")
    with pytest.raises(TableError, match="videoID 'abc': expected as many"):
        SidecarCaptioner([path])


def test_lists_of_a_parquet_table_are_read(tmp_path: Path) -> None:
    path = tmp_path / "panda.parquet"
    rows = {"videoID": ["abc"], "timestamp": [[["0:00", "0:02"]]], "caption": [["a dog"]]}
    pd.DataFrame(rows).to_parquet(path)
    assert SidecarCaptioner([path]).caption([clip(tmp_path / "abc.mp4")]) == ["a dog"]
    pd.DataFrame(rows | {"caption": [[7]]}).to_parquet(path)
    with pytest.raises(TableError, match="7 is no text"):
        SidecarCaptioner([path])


def test_second_captions_of_a_span_are_counted_as_spare(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("path,start,end,text\na.mp4,,,one\na.mp4,,,two\na.mp4,,,three\nb.mp4,,,b\n")
    captioner = SidecarCaptioner([path])
    clips = [clip(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    captioner.prepare(clips)
    assert captioner.caption(clips) == ["one", "b"]
    assert captioner.remarks() == ["2 captions are spare: the first of a span counts"]
    assert SidecarCaptioner([path]).remarks() == []


def test_a_table_that_speaks_of_no_clip_is_an_error(table: Path, tmp_path: Path) -> None:
    clips = [clip(tmp_path / "v" / "other.mp4")]
    with pytest.raises(TableError, match=r"none of its 3 paths is a file .*v/a\.mp4, a source is"):
        SidecarCaptioner([table]).prepare(clips)
    # its files may be those of another shard
    (table.parent / "v").mkdir()
    (table.parent / "v" / "b.mp4").write_bytes(b"")
    SidecarCaptioner([table]).prepare(clips)
    panda = tmp_path / "panda.csv"
    panda.write_text("videoID,timestamp,caption\nabc,\"[['0:00', '0:01']]\",\"['a']\"\n")
    with pytest.raises(TableError, match="none of its 1 videoIDs is the name"):
        SidecarCaptioner([panda]).prepare(clips)
    SidecarCaptioner([panda, table]).prepare([clip(table.parent / "v" / "a.mp4")])
    (tmp_path / "bare.csv").write_text("path,text\n")
    with pytest.raises(TableError, match="the table has no row"):
        SidecarCaptioner([tmp_path / "bare.csv"]).prepare(clips)


def test_a_start_that_is_no_number_is_told(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("path,start,end,text\na.mp4,soon,2,hi\n")
    with pytest.raises(TableError, match="'soon' is neither"):
        SidecarCaptioner([path])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a readable table"),
        (bytes(90), "byte 0 is 0"),
        (b"path,text\na.mp4,a red\0 ball\n", "byte 21 is 0"),
        (b"path,text\n" + b"gone.mp4,nothing\n" * 9000 + bytes(512), "byte 153010 is 0"),
    ],
    ids=["no byte", "zeros alone", "in a cell", "a hole far behind"],
)
def test_a_sidecar_table_of_zero_bytes_is_refused(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    (tmp_path / "captions.csv").write_bytes(content)
    with pytest.raises(TableError, match=rf"captions\.csv: .*{sentence}"):
        SidecarCaptioner([tmp_path / "captions.csv"])


def test_a_zero_byte_in_a_caption_costs_its_row(tmp_path: Path, tiny_video: Path) -> None:
    source = str(tiny_video)
    rows = [{"path": source, "text": "a red\0 ball", "start": 0.0, "end": 2.0}]
    rows += [{"path": source, "text": "a blue ball", "start": 2.0, "end": 4.0}]
    pd.DataFrame(rows).to_parquet(tmp_path / "captions.parquet")
    facts = {"path": source, "source": source, "kind": "video", "status": "ok", "detail": ""}
    facts["sha256"] = "0"
    clips = pd.DataFrame(
        [{**facts, "id": f"c{k}", "start": 2.0 * k, "end": 2.0 * k + 2} for k in (0, 1)]
    )
    found = caption_clips(clips, SidecarCaptioner([tmp_path / "captions.parquet"]))
    assert found["status"].tolist() == ["caption_encoding", "ok"]
    assert "holds a zero byte" in found["detail"][0]


def test_a_path_that_no_file_can_have_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"path,text\n{'x' * 300}.mp4,a cat\n")
    captioner = SidecarCaptioner([tmp_path / "t.csv"])
    with pytest.raises(TableError, match="none of its 1 paths is a file"):
        captioner.prepare([clip(tmp_path / "a.mp4")])
