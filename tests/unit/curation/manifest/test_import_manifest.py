"""A table of ready clips: what is taken, what is marked, and that nothing is lost."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opensora.cli.main import main
from opensora.core.errors import TableError
from opensora.core.io import sha256_file
from opensora.core.seed import stable_shard
from opensora.curation.manifest.import_manifest import import_manifest
from opensora.media.encode import write_video
from opensora.tables.columns import CAPTIONS, CLIPS, MANIFEST, REJECTED
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of ten frames 16 x 24 at 8 a second, an image and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for k, name in enumerate(["a.mp4", "b.mp4", "c.mp4"]):
        write_video(folder / name, np.full((10, 16, 24, 3), 60 * k, np.uint8), 8)
    Image.new("RGB", (24, 16)).save(folder / "d.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def reasons(rejected: pd.DataFrame) -> dict[str, str]:
    return {Path(row.path).name: row.reason for row in rejected.itertuples()}


def test_the_table_of_openvid_1m_is_read_as_published(folder: Path, tmp_path: Path) -> None:
    """Names of files and captions; its measures stay, under the names that it gives them."""
    scores = "aesthetic score,motion score,temporal consistency score,camera motion"
    (tmp_path / "OpenVid-1M.csv").write_text(
        f"video,caption,{scores},frame,fps,seconds\n"
        'a.mp4,"In the video, a ball rolls.",5.4,1.2,0.99,pan_left,127,25,5.08\n'
        "gone.mp4,A hill.,4.8,0.2,0.98,static,100,30,3.33\n"
    )
    made = import_manifest(read_table(tmp_path / "OpenVid-1M.csv"), root=folder)
    (row,) = made.manifest.to_dict("records")
    assert row["path"] == str(folder / "a.mp4")
    assert row["caption"] == "In the video, a ball rolls."
    assert (row["num_frames"], row["fps"], row["aesthetic score"]) == (10, 8, 5.4)
    assert row["camera motion"] == "pan_left"
    assert reasons(made.rejected) == {"gone.mp4": "missing"}


def test_every_row_is_taken_or_rejected_with_its_reason(folder: Path) -> None:
    rows = [
        ("a.mp4", "A  Red circle", 10, 16, 24),
        ("b.mp4", "", 10, 16, 24),
        ("c.mp4", "https://t.co/a", 10, 16, 24),
        ("d.png", "a plain picture", 1, 16, 24),
        ("gone.mp4", "not there", 10, 16, 24),
        ("broken.mp4", "no video", None, None, None),
        ("a.mp4", "the same file again", 10, 16, 24),
        ("lost.mp4", "a caf\ufffd", 10, 16, 24),
    ]
    table = pd.DataFrame(rows, columns=["path", "text", "num_frames", "height", "width"])
    made = import_manifest(table, root=folder)
    assert list(made.manifest["path"]) == [str(folder / "a.mp4"), str(folder / "d.png")]
    assert list(made.manifest["text"]) == ["a red circle", "a plain picture"]
    assert list(made.manifest["caption"]) == ["A  Red circle", "a plain picture"]
    assert reasons(made.rejected) == {
        **{"b.mp4": "no_caption", "c.mp4": "empty_caption", "gone.mp4": "missing"},
        **{"broken.mp4": "not_a_video", "a.mp4": "duplicate_id"},
        "lost.mp4": "caption_encoding",
    }
    (stage,) = made.funnel["stages"]
    lost = sum(reason["rows"] for reason in stage["reasons"].values())
    assert (stage["rows_in"], stage["rows_kept"], lost) == (8, 2, 6)
    assert stage["seconds_kept"] == 1.25
    assert made.funnel["kept"]["videos"] == made.funnel["kept"]["images"] == 1


def test_files_are_looked_into_where_the_table_is_silent_and_believed(folder: Path) -> None:
    table = pd.DataFrame({"path": ["a.mp4", "b.mp4"], "text": "x", "num_frames": [99, np.nan]})
    made = import_manifest(table, root=folder)
    assert made.corrected == 1
    assert made.manifest["num_frames"].tolist() == [10, 10]
    assert made.manifest["fps"].tolist() == [8.0, 8.0]
    assert made.manifest["aspect_ratio"].round(3).tolist() == [0.667, 0.667]
    assert made.manifest["sha256"][0] == sha256_file(folder / "a.mp4")


def test_a_table_that_says_everything_is_not_looked_into(folder: Path) -> None:
    facts = {"num_frames": 8, "height": 16, "width": 24, "fps": 8.0, "sha256": "as the table says"}
    table = pd.DataFrame([{"path": str(folder / "broken.mp4"), "text": "x", "aes": 5.5, **facts}])
    made = import_manifest(table)
    assert made.manifest["sha256"].tolist() == ["as the table says"]
    assert made.manifest["aes"].tolist() == [5.5]


def test_sides_come_from_the_table_or_are_drawn_by_source(folder: Path) -> None:
    names = ["a.mp4", "b.mp4", "c.mp4"]
    table = pd.DataFrame({"path": names, "text": "x"})
    assert set(import_manifest(table, root=folder).manifest["split"]) == {"train"}
    drawn = import_manifest(table, root=folder, validation_fraction=0.9)
    assert "validation" in set(drawn.manifest["split"])
    named = import_manifest(table.assign(split=["train", "validation", ""]), root=folder)
    assert named.manifest["split"].tolist() == ["train", "validation", "train"]
    assert [Path(path).name for path in named.clips["path"]] == ["a.mp4", "c.mp4"]
    spelled = import_manifest(table.assign(split=["Train", "val", "TEST"]), root=folder)
    assert spelled.manifest["split"].tolist() == ["train", "validation", "test"]


def test_rows_with_a_value_that_can_not_be_are_rejected_one_by_one(folder: Path) -> None:
    table = pd.DataFrame({"path": ["a.mp4", "b.mp4", "c.mp4"], "text": "x"})
    given = {"split": ["holdout", "train", ""], "start": ["0", "soon", "0.5"], "end": ["1", "", ""]}
    made = import_manifest(table.assign(**given), root=folder)
    assert [Path(path).name for path in made.manifest["path"]] == ["c.mp4"]
    assert made.manifest[["start", "end", "split"]].to_numpy().tolist() == [[0.5, 1.75, "train"]]
    assert reasons(made.rejected) == {"a.mp4": "bad_value", "b.mp4": "bad_value"}
    assert made.rejected["detail"].tolist() == [
        "split is 'holdout'; expected train, validation or test",
        "start is 'soon'; expected seconds of at least 0",
    ]
    with pytest.raises(TableError, match=r"none of 3 rows can be used: bad_value \(3\)"):
        import_manifest(table.assign(start=-1.0), root=folder)


def test_the_file_tells_a_rate_that_the_table_has_wrong(folder: Path) -> None:
    names = ["a.mp4", "b.mp4", "c.mp4"]
    facts = {"num_frames": 10, "height": 16, "width": 24, "sha256": "said"}
    table = pd.DataFrame({"path": names, "text": "x", **facts})
    made = import_manifest(table.assign(fps=["24000/1001", "inf", "-25"]), root=folder)
    assert made.manifest["fps"].tolist() == [24000 / 1001, 8.0, 8.0]
    assert made.rejected.empty


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("meta.jsonl", '{"video_path": "a.mp4", "caption": "x"}\n{"video_path": "b.mp4"}\n'),
        ("meta.json", '[{"path": "a.mp4", "cap": ["x", "y"], "resolution": {"height": 9}}]'),
        ("meta.csv", "file_name,prompt\na.mp4,x\n"),
    ],
)
def test_spellings_of_other_projects_are_read(
    folder: Path, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    made = import_manifest(read_table(tmp_path / name), root=folder)
    assert made.manifest["text"].tolist() == ["x"]
    assert made.manifest["resolution"].tolist() == [16 * 24]


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"where": ["a.mp4"], "text": ["x"]}, "no column 'path'; it may also be called video_path"),
        ({"path": [], "text": []}, "has no row"),
        (
            {"path": ["gone.mp4"], "text": ["x"]},
            r"none of 1 rows can be used: missing \(1\); the first, gone\.mp4: .*; relative paths"
            r" start in the folder that the command runs in: --root ",
        ),
    ],
)
def test_a_table_of_no_use_is_refused(table: dict, sentence: str) -> None:
    with pytest.raises(TableError, match=sentence):
        import_manifest(pd.DataFrame(table))


def test_the_command_deals_clips_out_to_partitions(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("path,text,shard\na.mp4,x,90\nb.mp4,y,91\nd.png,z,92\n")
    words = ["import-manifest", f"{tmp_path}/meta.csv", "--root", str(folder), "--num-shards", "5"]
    for name in ("manifest", "clips", "captions"):
        words += [f"--{name}", f"{tmp_path}/{name}"]
    words += ["--rejected", f"{tmp_path}/r.csv", "--funnel", f"{tmp_path}/f.json"]
    assert main([*words, "--csv", f"{tmp_path}/m.csv"]) == 0
    manifest = read_manifest(tmp_path / "manifest")
    assert manifest["shard"].tolist() == [stable_shard(name, 5) for name in manifest["id"]]
    assert read_manifest(tmp_path / "m.csv")["text"].tolist() == ["x", "y", "z"]
    for shard in range(5):
        own = set(manifest.loc[manifest["shard"] == shard, "id"])
        for name, layout in (("clips", CLIPS), ("captions", CAPTIONS)):
            rows = read_table(tmp_path / name / f"000{shard}.parquet", layout)
            assert set(rows["id"]) == own
    assert main([*words, "--csv", f"{tmp_path}/m.csv", "--csv-when", "never"]) == 0
    assert not (tmp_path / "m.csv").exists()
    assert main([*words, "--num-shards", "0"]) == 2


def test_the_command_writes_what_the_stages_behind_it_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "meta.csv").write_text("path,text,num_frames\na.mp4,x,9\nb.mp4,\nd.png,y,1\n")
    names = (
        "manifest.csv",
        "rejected.csv",
        "funnel.json",
        "data_card.md",
        "clips.csv",
        "texts.csv",
    )
    files = [tmp_path / name for name in names]
    options = ("--manifest", "--rejected", "--funnel", "--data-card", "--clips", "--captions")
    words = [str(word) for pair in zip(options, files, strict=True) for word in pair]
    meta = str(tmp_path / "meta.csv")
    assert main(["import-manifest", meta, "--root", str(folder), *words]) == 0
    said = capsys.readouterr().out
    assert "2 of 3 rows taken, sizes of 1 corrected, 1 rejected (no_caption 1)" in said
    for file, layout in zip((files[0], files[1]), (MANIFEST, REJECTED), strict=True):
        read_table(file, layout)
    assert len(read_manifest(files[0])) == 2
    assert json.loads(files[2].read_text())["kept"]["train"] == 2
    assert read_table(files[4], CLIPS)["kind"].tolist() == ["video", "image"]
    assert read_table(files[5], CAPTIONS)["text"].tolist() == ["x", "y"]
