"""Rows of public sets as the sets publish them, and as somebody may have broken them."""

import json
from pathlib import Path

import pytest

from opensora.core.errors import TableError
from opensora.tables.io import read_table
from opensora.tables.public import public_table, video_ids

KOALA = {
    "videoID": "xED6jYxWaGg_26",
    "url": "https://www.youtube.com/watch?v=xED6jYxWaGg",
    "timestamp": "['0:01:00.500', '0:01:04.250']",
    "caption": "['quoted', as it was",
    "clarity_score": 0.9,
    "aesthetic_score": 5.3,
    "motion_score": 22.0,
    "video_training_suitability_score": 4.5,
}
PANDA = {
    "videoID": "abc-_123",
    "url": "https://www.youtube.com/watch?v=abc-_123",
    "timestamp": "[['0:00:02.6', '0:00:11.6'], ['0:00:11.6', '0:00:20']]",
    "caption": "['one', \"it's two\"]",
    "matching_score": "[0.4, 0.5]",
}
INTERNVID = {
    "YoutubeID": "LsWGof0vcls",
    "Start_timestamp": "00:10:41.467",
    "End_timestamp": "00:10:57.567",
    "Caption": "two men near a field",
    "Aesthetic_Score": 4.6,
    "UMT_Score": 0.4,
}
HDVG = {
    "video_id": "QMi8x8o55Ns",
    "span": ["00:00:17.750", "00:00:23.250"],
    "fps": 25.0,
    "clip_id": "QMi8x8o55Ns.1_0",
    "scene_cut": [0, 50],
    "caption": "a man on a boat",
}


@pytest.mark.parametrize(
    ("row", "name", "video", "spans"),
    [
        (KOALA, "Koala-36M", "xED6jYxWaGg", [(60.5, 64.25, "['quoted', as it was")]),
        (KOALA | {"url": ""}, "Koala-36M", "xED6jYxWaGg", [(60.5, 64.25, "['quoted', as it was")]),
        (PANDA, "Panda-70M", "abc-_123", [(2.6, 11.6, "one"), (11.6, 20.0, "it's two")]),
        (INTERNVID, "InternVid", "LsWGof0vcls", [(641.467, 657.567, "two men near a field")]),
        (HDVG, "HD-VG-130M", "QMi8x8o55Ns", [(17.79, 19.75, "a man on a boat")]),
        (
            HDVG | {"scene_cut": [0, -1]},
            *("HD-VG-130M", "QMi8x8o55Ns", [(17.75, 23.25, "a man on a boat")]),
        ),
    ],
)
def test_each_set_is_known_by_its_columns(
    row: dict[str, object], name: str, video: str, spans: list[tuple[float, float, str]]
) -> None:
    table = public_table(list(row))
    assert table is not None
    assert (table.name, table.video_of(row)) == (name, video)
    assert [(round(s.start, 3), s.end, s.text) for s in table.spans_of(row)] == spans


def test_other_tables_are_of_no_set() -> None:
    assert public_table(["path", "start", "end", "text"]) is None
    assert public_table(["videoID", "caption"]) is None


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (PANDA | {"caption": "['one']"}, "expected as many .start, end. pairs in timestamp"),
        (PANDA | {"timestamp": "[" * 100}, "nested 100 deep"),
        (PANDA | {"timestamp": "__import__('os')"}, "expected as many"),
        (KOALA | {"timestamp": "['0:01']"}, r"expected \[start, end\] in timestamp, and a text"),
        (KOALA | {"timestamp": None}, r"xED6jYxWaGg_26"),
        (INTERNVID | {"Start_timestamp": "soon"}, "in Start_timestamp and End_timestamp"),
        (INTERNVID | {"Caption": None}, "None is no text"),
        (HDVG | {"fps": 0}, "fps above 0, .first, last. frame in scene_cut, .start, end. in span"),
        (HDVG | {"scene_cut": [1]}, "QMi8x8o55Ns"),
        (HDVG | {"fps": None}, "frame in scene_cut"),
    ],
)
def test_a_row_that_is_none_says_which(row: dict[str, object], sentence: str) -> None:
    table = public_table(list(row))
    assert table is not None
    with pytest.raises(ValueError, match=sentence):
        table.spans_of(row)


def test_scenes_of_an_object_of_videos_are_rows(tmp_path: Path) -> None:
    scenes = [
        {"clip_id": f"v.1_{k}", "scene_cut": cut, "caption": f"a “scene” {k}"}
        for k, cut in enumerate(([0, 50], [50, 120]))
    ]
    clip = {"span": ["00:00:01.000", "00:00:09.000"], "fps": 25.0, "scene_split": scenes}
    videos = {"v": {"url": "https://example.org/v", "clip": {"v.1.mp4": clip}}}
    file = tmp_path / "hdvg_0.json"
    file.write_text(json.dumps(videos))
    rows = read_table(file, keep_lists=True)
    table = public_table(rows.columns)
    assert table is not None
    spans = [table.spans_of(row)[0] for row in rows.to_dict("records")]
    assert spans == [(1.04, 3.0, "a “scene” 0"), (3.04, 5.8, "a “scene” 1")]
    assert [table.video_of(row) for row in rows.to_dict("records")] == ["v", "v"]
    for broken in ({"span": None}, {"scene_split": [{"scene_cut": [0, 1]}]}, {"scene_split": 1}):
        whole = {key: value for key, value in {**clip, **broken}.items() if value is not None}
        file.write_text(json.dumps({"v": {"clip": {"v.1.mp4": whole}}}))
        with pytest.raises(TableError, match=r"v, v\.1\.mp4: expected span, fps and scene_split"):
            read_table(file)


def test_files_are_known_by_their_ids() -> None:
    assert video_ids("a/abc-_123.mp4") == ["abc-_123"]
    assert video_ids("A film [of two] [abc-_123].webm") == [
        "A film [of two] [abc-_123]",
        "abc-_123",
    ]
