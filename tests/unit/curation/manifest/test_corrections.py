"""What a person says of single clips reaches the manifest, and nothing else changes."""

import logging

import pandas as pd
import pytest

from opensora.curation.manifest.build_manifest import StageTables, build_manifest
from opensora.curation.manifest.import_manifest import import_manifest
from opensora.curation.manifest.selection import Selection
from opensora.tables.captions import read_all_captions
from opensora.tables.corrections import Correction
from opensora.tables.io import write_table
from tests.browser.run_folder import stage_tables

BOUNDS = Selection(filters={"flow": {"min": 0.2}})
CLIP, SHORT = "video00002_0_000", "video00003_0_000"  # the second is marked by split_clips
Rows = dict[str, Correction]


@pytest.fixture
def tables(tmp_path) -> StageTables:
    return stage_tables(40, 0, [str(tmp_path / f"{k}.mp4") for k in range(3)])


def built(tables: StageTables, *rows: Correction) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    given = {row.id: row for row in rows}
    made = build_manifest(tables, BOUNDS, validation_fraction=0.2, corrections=given)
    return made.manifest.set_index("id"), made.rejected.set_index("id"), made.funnel


def test_a_caption_changes_its_row_alone(tables: StageTables) -> None:
    plain = build_manifest(tables, BOUNDS, validation_fraction=0.2)
    manifest, rejected, funnel = built(
        tables, Correction(CLIP, caption="A <b>Red</b>  CIRCLE turns slowly now")
    )
    row = manifest.loc[CLIP]
    assert list(row[["caption", "text", "text_len"]]) == [
        "A Red CIRCLE turns slowly now",
        "a red circle turns slowly now",
        6,
    ]
    changed = manifest.compare(plain.manifest.set_index("id"))
    assert list(changed.index) == [CLIP]
    assert set(changed.columns.get_level_values(0)) == {"caption", "text", "text_len"}
    pd.testing.assert_frame_equal(rejected, plain.rejected.set_index("id"))
    assert funnel.pop("corrections") == {"captions": 1, "out": 0, "unknown": []}
    assert funnel == plain.funnel


def test_marking_out_removes_exactly_that_clip(tables: StageTables) -> None:
    plain = build_manifest(tables, BOUNDS, validation_fraction=0.2).manifest.set_index("id")
    manifest, rejected, funnel = built(tables, Correction(CLIP, mark="out", detail="a logo"))
    pd.testing.assert_frame_equal(manifest, plain.drop(CLIP))
    told = rejected.loc[CLIP]
    assert list(told[["stage", "reason", "detail"]]) == ["build_manifest", "marked_out", "a logo"]
    assert funnel["stages"][-1]["reasons"]["marked_out"]["rows"] == 1


def test_a_mark_comes_before_the_bounds(tables: StageTables) -> None:
    low = tables.scores["flow"].query("flow < 0.2")["id"]
    good = set(tables.clips.query("status == 'ok'")["id"])
    name = next(one for one in low if one in good)
    _, rejected, _ = built(tables, Correction(name, mark="out"))
    assert list(rejected.loc[name, ["reason", "detail"]]) == ["marked_out", "marked out by hand"]


def test_a_clip_without_a_caption_comes_back_and_a_short_one_does_not(
    tables: StageTables,
) -> None:
    at = tables.captions["id"] == CLIP
    tables.captions.loc[at, ["caption", "text", "status"]] = ["", "", "no_caption"]
    rows = [Correction(CLIP, "a dog"), Correction(SHORT, "a cat")]
    manifest, rejected, _ = built(tables, *rows)
    assert manifest.loc[CLIP, "text"] == "a dog"
    assert rejected.loc[SHORT, "reason"] == "too_short"


def test_a_caption_of_which_nothing_is_left_is_a_reason(tables: StageTables) -> None:
    _, rejected, _ = built(tables, Correction(CLIP, caption="<b></b> https://example.org"))
    assert list(rejected.loc[CLIP, ["stage", "reason"]]) == ["caption_clips", "no_caption"]


def test_an_id_of_no_clip_is_said(tables: StageTables, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        _, _, funnel = built(tables, Correction("gone_0", mark="out"), Correction(CLIP, "a dog"))
    assert funnel["corrections"] == {"captions": 1, "out": 0, "unknown": ["gone_0"]}
    assert "unknown=1 of 2" in caplog.text
    assert "gone_0" in caplog.text
    caplog.clear()


def test_a_corrected_caption_is_the_only_one_of_its_clip(tables: StageTables, tmp_path) -> None:
    second = tables.captions.assign(k=1, text="another", caption="Another")
    several = pd.concat([tables.captions.assign(k=0), second], ignore_index=True)
    tables = StageTables(tables.videos, tables.scenes, tables.clips, several, tables.scores)
    manifest, _, _ = built(tables, Correction(CLIP, "a dog"))
    assert manifest["num_captions"].value_counts().to_dict() == {1: 1, 2: len(manifest) - 1}
    assert list(manifest.index[manifest["corrected"]]) == [CLIP]
    write_table(several, tmp_path / "0.parquet")
    found = read_all_captions(manifest.reset_index(), [tmp_path / "0.parquet"])
    assert found.loc[found["id"] == CLIP, ["k", "text"]].to_numpy().tolist() == [[0, "a dog"]]
    assert len(found) == 2 * len(manifest) - 1


def test_ready_clips_are_corrected_too(tmp_path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    rows = pd.DataFrame({"id": list("abc"), "path": [f"{n}.mp4" for n in "abc"]})
    rows = rows.assign(text="Old", num_frames=8, fps=8.0, height=32, width=32, sha256="0")
    given = {"a": Correction("a", "New One"), "b": Correction("b", mark="out")}
    given["d"] = Correction("d", "x")
    made = import_manifest(rows, root=tmp_path, corrections=given)
    assert dict(zip(made.manifest["id"], made.manifest["text"], strict=True)) == {
        "a": "new one",
        "c": "old",
    }
    assert made.rejected[["id", "reason"]].to_numpy().tolist() == [["b", "marked_out"]]
    assert made.funnel["corrections"]["unknown"] == ["d"]


def test_ready_clips_of_a_source_are_corrected_by_the_id_they_have_there(tmp_path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    rows = pd.DataFrame({"id": ["a"], "path": ["a.mp4"], "text": ["Old"]})
    rows = rows.assign(num_frames=8, fps=8.0, height=32, width=32, sha256="0")
    given = {"web_a": Correction("web_a", "New One"), "film_a": Correction("film_a", "x")}
    made = import_manifest(rows, root=tmp_path, source_name="web", corrections=given)
    assert made.manifest[["id", "text"]].to_numpy().tolist() == [["web_a", "new one"]]
    # another source may have the other: what no source has is said where they join
    assert made.funnel["corrections"] == {"captions": 1, "out": 0, "unknown": []}
