"""Clips as files for other trainers: what stands where, which shapes, and what is left out."""

import json
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from opensora.cli.main import EXIT_USER, main
from opensora.core.errors import ConfigError, TableError
from opensora.curation.export.folders import LAYOUTS, Choice, export_folder
from opensora.curation.export.frames import Shapes, assign_counts, choose_counts, frames_at
from opensora.curation.export.names import absolute, suffix_of
from opensora.curation.manifest.import_manifest import import_manifest
from opensora.media.encode import write_video
from opensora.tables.columns import MANIFEST
from opensora.tables.io import read_table, write_table

LENGTHS = {"a": 48, "b.c": 34, "d": 20, "e": 3, "f": 1}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    import numpy as np

    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for k, length in enumerate(LENGTHS.values()):
        path = folder / f"{k}hash.mp4"
        write_video(path, np.full((length, 32 + 16 * (k % 2), 64, 3), 40 * k, np.uint8), 24)
        rows.append({"path": str(path), "text": f"a “box” {k}, é", "split": "train"})
    rows[2]["split"] = "validation"
    found = import_manifest(pd.DataFrame(rows)).manifest
    return found.assign(id=list(LENGTHS))


def test_the_longest_count_that_a_clip_fills() -> None:
    wan = Shapes(frame_step=4, size_step=16)
    assert [wan.longest(n) for n in (1, 4, 5, 8, 9, 81)] == [1, 1, 5, 5, 9, 81]
    assert choose_counts(pd.Series([1, 3, 20, 34, 48]), wan) == [17, 33, 45]
    assert list(assign_counts(pd.Series([1, 3, 17, 32, 99]), [17, 33])) == [1, 0, 17, 17, 33]
    with pytest.raises(ConfigError, match=r"--frames 32: .* nearest are 29 and 33"):
        wan.check([17, 32])
    rows = pd.DataFrame({"num_frames": [48, 1, 50], "fps": [24.0, float("nan"), 25.0]})
    assert list(frames_at(rows, 16)) == [32, 1, 32]


@pytest.mark.parametrize("layout", ["folder", "jsonl", "videofolder", "finetrainers", "ltx"])
def test_what_is_exported_comes_in_again(
    manifest: pd.DataFrame, tmp_path: Path, layout: str
) -> None:
    """The same clips in the same order, each with its caption."""
    left = export_folder(manifest, tmp_path / "out", layout)
    tables = {
        "jsonl": lambda split: (f"{split}.jsonl", "."),
        "videofolder": lambda split: (f"{split}/metadata.jsonl", split),
        "finetrainers": lambda split: (f"{split}/metadata.csv", split),
        "ltx": lambda split: (f"{split}.json", "."),
    }
    expected = manifest[~manifest["id"].isin(left["id"])]
    for split, part in expected.groupby("split"):
        if layout == "folder":
            files = sorted((tmp_path / "out" / str(split)).glob("*.mp4"))
            found = pd.DataFrame({"path": files})
            texts = [path.with_suffix(".txt").read_text().rstrip("\n") for path in files]
            assert texts == list(part["caption"])  # as written
        else:
            table, root = tables[layout](split)
            rows = read_table(tmp_path / "out" / table)
            found = import_manifest(rows, root=tmp_path / "out" / root).manifest
            assert list(found["text"]) == list(part["text"])
        assert [Path(path).stem for path in found["path"]] == list(part["id"])
        for path, old in zip(found["path"], part["path"], strict=True):
            assert Path(path).read_bytes() == Path(old).read_bytes()


def test_musubi_takes_each_clip_once_at_its_longest_count(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    left = export_folder(manifest, tmp_path / "out", "musubi", choice=Choice(fps=16))
    assert dict(zip(left["id"], left["detail"], strict=True)) == {
        "e": "2 frames, below 13, the least that is trained"
    }
    assert "e," in (tmp_path / "out/left_out.csv").read_text()
    settings = tomllib.loads((tmp_path / "out/dataset.toml").read_text())
    assert settings["general"]["resolution"] == [64, 32]
    images, *videos = settings["datasets"]
    assert Path(images["image_jsonl_file"]).name == "images.jsonl"
    seen = {}
    for data in videos:
        assert data["source_fps"] == 24.0
        lines = Path(data["video_jsonl_file"]).read_text().splitlines()
        assert data["cache_directory"] not in seen
        seen[data["cache_directory"]] = data["target_frames"]
        for line in map(json.loads, lines):
            clip = manifest[manifest["id"] == Path(line["video_path"]).stem].iloc[0]
            assert Path(line["video_path"]).is_file()
            assert line["caption"] == clip["caption"]
            (count,) = data["target_frames"]
            assert count <= clip["num_frames"] * 16 / 24 < count + 12
    assert sorted(count for counts in seen.values() for count in counts) == [21, 29]


def test_slow_clips_and_images_are_left_out_where_they_can_not_be_trained(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(TableError, match="24 frames a second, fewer than --fps"):
        export_folder(manifest.iloc[:3], tmp_path / "out", "ltx", choice=Choice(fps=30))
    assert not (tmp_path / "out").exists()
    left = export_folder(manifest, tmp_path / "out", "ltx")
    assert dict(zip(left["id"], left["detail"], strict=True)) == {
        "e": "3 frames, below 17, the least that is trained",
        "f": "an image: this format holds videos alone",
    }
    assert "64x32x17" in (tmp_path / "out/README.md").read_text()


def test_diffusion_pipe_has_buckets_of_the_clips(manifest: pd.DataFrame, tmp_path: Path) -> None:
    export_folder(manifest, tmp_path / "out", "diffusion-pipe", choice=Choice(frames=[17, 33]))
    settings = tomllib.loads((tmp_path / "out/dataset.toml").read_text())
    assert settings["frame_buckets"] == [1, 17, 33]
    assert (settings["min_ar"], settings["max_ar"]) == (1.3333, 2.0)
    (directory,) = settings["directory"]
    beside = {path.name for path in Path(directory["path"]).iterdir()}
    assert beside == {"a.mp4", "a.txt", "b.c.mp4", "b.c.txt", "f.mp4", "f.txt"}
    held_out = tomllib.loads((tmp_path / "out/validation.toml").read_text())
    assert held_out["directory"][0]["path"] == str(tmp_path / "out/validation")
    assert held_out | {"directory": 0} == settings | {"directory": 0}


def test_finetrainers_makes_videos_of_a_few_captions_that_are_held_out(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    export_folder(manifest, tmp_path / "out", "finetrainers", choice=Choice(size=(32, 64)))
    (prompt,) = json.loads((tmp_path / "out/validation.json").read_text())["data"]
    size = {"height": 32, "width": 64, "num_frames": 17, "frame_rate": 24.0}
    assert prompt == {"caption": "a “box” 2, é", **size}
    many = [manifest[manifest["id"] == "d"].assign(id=f"d{k}") for k in range(10)]
    export_folder(pd.concat([manifest, *many]), tmp_path / "more", "finetrainers")
    assert len(json.loads((tmp_path / "more/validation.json").read_text())["data"]) == 8


def test_tables_alone_name_the_clips_where_they_stand(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    export_folder(manifest, tmp_path / "out", "jsonl", copy=False)
    lines = (tmp_path / "out/train.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [
        str(path) for path in manifest.loc[manifest["split"] == "train", "path"]
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "train.jsonl",
        "validation.jsonl",
    ]
    for layout in set(LAYOUTS) - {"jsonl", "musubi"}:
        with pytest.raises(ConfigError, match="finds clips by their folder"):
            export_folder(manifest, tmp_path / layout, layout, copy=False)


def test_the_command_says_what_it_left_out(
    manifest: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(manifest, tmp_path / "manifest.csv", MANIFEST)
    words = ["export", "--manifest", f"{tmp_path}/manifest.csv", "--output", f"{tmp_path}/out"]
    assert main([*words, "--format", "ltx", "--fps", "0"]) == EXIT_USER
    assert main([*words, "--format", "ltx", "--frames", "16"]) == EXIT_USER
    assert "nearest are 9 and 17" in capsys.readouterr().err
    assert main([*words, "--format", "ltx"]) == 0
    assert (
        f"3 clips, 1 of them held out, 2 left out ({tmp_path}/out/left_out.csv)"
        in capsys.readouterr().out
    )
    assert main([*words, "--format", "folder"]) == EXIT_USER
    assert "export into an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    [
        *("/a/b.mp4", "/a/b.tar.gz", "/a/b", "/a/.mp4", "/a/b.", "/a.x/b", "c.MKV", "/a//b.mp4"),
        *("./b.mp4", "/a/./b.mp4", "/a/../b.mp4", "/a/.hidden/b.webm", "../b", "/a/b.mp4/"),
    ],
)
def test_names_are_those_of_path_without_its_time(path: str) -> None:
    assert suffix_of(path) == Path(path.rstrip("/")).suffix
    assert absolute([path, Path(path)]) == [str(Path(path).absolute())] * 2


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ((48, 50), "--size 48 50: .*multiples of 16 pixels; 50 lies beside 48 and 64"),
        ((10, 16), "10 lies beside 16"),
        ((16, 16 * 10**19), "more than the 67,108,864 pixels"),
    ],
)
def test_a_size_that_the_trainer_would_change_is_refused(
    size: tuple[int, int], sentence: str, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        export_folder(manifest, tmp_path / "out", "musubi", choice=Choice(size=size))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("layout", "words", "sentence"),
    [
        ("jsonl", ["--frames", "17"], "--frames: says nothing to --format jsonl; leave it out, or"),
        ("webdataset", ["--size", "32", "32"], "--size: says nothing to --format webdataset"),
        ("csv", ["--fps", "16"], "--fps: says nothing to --format csv"),
        ("musubi", ["--shard-size", "9"], "--shard-size: says nothing to --format musubi"),
        ("folder", ["--shard-mb", "9"], "or take --format webdataset or parquet"),
    ],
)
def test_an_option_of_other_formats_is_refused(
    layout: str,
    words: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = ["--manifest", "m.csv", "--format", layout, "--output", str(tmp_path / "out")]
    assert main(["export", *named, *words]) == EXIT_USER
    assert sentence in capsys.readouterr().err


def test_a_place_of_the_other_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file.csv").write_text("kept\n")
    for layout, place, sentence in (
        ("csv", tmp_path, "is a folder; name the CSV file"),
        ("jsonl", tmp_path / "file.csv", "is a file; name a folder"),
    ):
        words = ["--manifest", "m.csv", "--format", layout, "--output", str(place)]
        assert main(["export", *words]) == EXIT_USER
        assert sentence in capsys.readouterr().err
    assert (tmp_path / "file.csv").read_text() == "kept\n"
