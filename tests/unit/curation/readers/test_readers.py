"""Each layout on a folder made here: the same clips, captions and splits come out of all."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opensora.cli.main import EXIT_USER, main
from opensora.config.registry import READERS, registered_names
from opensora.core.errors import TableError
from opensora.curation.manifest.import_manifest import import_manifest
from opensora.curation.readers.reader import folders_of, layout_of, names_in, read_clips
from opensora.media.encode import write_video
from opensora.tables.columns import MANIFEST
from opensora.tables.io import read_table

CAPTIONS = {"a.mp4": "a red box, é", "b.mp4": "two boxes\n", "c.mp4": "no box"}


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for k, name in enumerate(CAPTIONS):
        write_video(folder / name, np.full((9 + k, 16, 16, 3), 40 * k, np.uint8), 8)
    return folder


def beside(folder: Path, suffix: str = ".txt") -> None:
    for name, text in CAPTIONS.items():
        (folder / name).with_suffix(suffix).write_text(text, encoding="utf-8")


def musubi_folder(folder: Path) -> Path:
    beside(folder, ".cap")
    settings = folder.parent / "dataset.toml"
    settings.write_text(
        '[general]\ncaption_extension = ".cap"\n[[datasets]]\nvideo_directory = "clips"\n'
        "num_repeats = 3\n"
    )
    return settings


def musubi_lines(folder: Path) -> Path:
    settings = folder.parent / "dataset.toml"
    lines = [{"video_path": str(folder / n), "caption": text} for n, text in CAPTIONS.items()]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (folder.parent / "x.jsonl").write_text(f"{text}\n\n", encoding="utf-8")
    settings.write_text('[[datasets]]\nvideo_jsonl_file = "x.jsonl"\ntarget_frames = [9]\n')
    return settings


def diffusion_pipe(folder: Path) -> Path:
    beside(folder)
    settings = folder.parent / "dataset.toml"
    settings.write_text(f"frame_buckets = [1, 9]\n[[directory]]\npath = {str(folder)!r}\n")
    return settings


def diffusion_pipe_json(folder: Path) -> Path:
    settings = diffusion_pipe(folder)
    listed = {name: [text, "another"] for name, text in CAPTIONS.items()}
    (folder / "captions.json").write_text(json.dumps(listed))
    return settings


def finetrainers(folder: Path) -> Path:
    table = pd.DataFrame({"file_name": list(CAPTIONS), "caption": list(CAPTIONS.values())})
    table.to_csv(folder / "metadata.csv", index=False)
    settings = folder.parent / "training.json"
    settings.write_text(json.dumps({"datasets": [{"data_root": "clips", "dataset_type": "video"}]}))
    return settings


def two_lists(folder: Path) -> Path:
    (folder / "videos.txt").write_text("\n".join(CAPTIONS) + "\n")
    (folder / "prompts.txt").write_text("\n".join(x.strip() for x in CAPTIONS.values()))
    return folder


def videofolder(folder: Path) -> Path:
    lines = [{"file_name": name, "text": text, "flow": 2.5} for name, text in CAPTIONS.items()]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def split_tables(folder: Path) -> Path:
    """A table for each side, of paths from their own folder, as LTX's trainers have them."""
    listed = [{"media_path": f"clips/{name}", "caption": text} for name, text in CAPTIONS.items()]
    (folder.parent / "train.json").write_text(json.dumps(listed[:2]))
    (folder.parent / "val.json").write_text(json.dumps(listed[2:]))
    return folder.parent


def plain(folder: Path) -> Path:
    beside(folder)
    return folder


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "folder": plain,
    "videofolder": videofolder,
    "two_lists": two_lists,
    "musubi": musubi_folder,
    "musubi (lines)": musubi_lines,
    "diffusion-pipe": diffusion_pipe,
    "diffusion-pipe (captions.json)": diffusion_pipe_json,
    "finetrainers": finetrainers,
    "split_tables": split_tables,
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_clips_and_captions_come_out_as_they_are(clips: Path, layout: str) -> None:
    rows = read_clips(LAYOUTS[layout](clips))
    assert {
        Path(p).resolve(): t.strip() for p, t in zip(rows["path"], rows["text"], strict=True)
    } == {(clips / name).resolve(): text.strip() for name, text in CAPTIONS.items()}
    made = import_manifest(rows)
    assert list(made.manifest["num_frames"]) == [9, 10, 11]
    assert list(made.manifest["text"]) == ["a red box, é", "two boxes", "no box"]
    if layout == "videofolder":
        assert list(made.manifest["flow"]) == [2.5] * 3


def test_every_reader_is_tried_here() -> None:
    in_other_files = {"webdataset", "parquet"}  # test_archives.py
    assert set(registered_names(READERS)) - in_other_files == {
        name.partition(" ")[0] for name in LAYOUTS
    }


def test_tables_named_as_splits_say_what_is_held_out(clips: Path, tmp_path: Path) -> None:
    folder = split_tables(clips)
    assert list(read_clips(folder)["split"]) == ["train", "train", "validation"]
    (folder / "val.json").unlink()
    assert "split" not in read_clips(folder)  # sides can be drawn
    for name in ("gone.mp4", "a" * 5000, "a\0.mp4", "../" * 2000, 7):
        listed = [{"media_path": name, "caption": "nothing here"}]
        (folder / "train.json").write_text(json.dumps(listed))
        assert layout_of(folder) == ""


@pytest.mark.parametrize("place", ["own", "working"])
def test_a_table_whose_clips_stand_beside_it_needs_no_root(
    place: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths start in the working folder, as in Open-Sora, or in its own if it has them alone."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere" if place == "own" else tmp_path)
    (tmp_path / "meta.csv").write_text("path,text\nclips/a.mp4,a red box\nclips/x.mp4,none\n")
    words = ["import-manifest", f"{tmp_path}/meta.csv", "--manifest", f"{tmp_path}/m.csv"]
    words += ["--rejected", f"{tmp_path}/r.csv", "--funnel", f"{tmp_path}/f.json"]
    assert main(words) == 0
    root = f"{tmp_path}/" if place == "own" else ""
    assert list(read_table(tmp_path / "m.csv")["path"]) == [f"{root}clips/a.mp4"]
    assert list(read_table(tmp_path / "r.csv")["reason"]) == ["missing"]


def test_a_clip_without_a_caption_is_a_row_with_a_reason(clips: Path, tmp_path: Path) -> None:
    beside(clips)
    (clips / "b.txt").unlink()
    words = ["import-manifest", str(clips), "--manifest", f"{tmp_path}/m.csv"]
    words += ["--rejected", f"{tmp_path}/r.csv", "--funnel", f"{tmp_path}/f.json"]
    assert main(words) == 0
    assert list(read_table(tmp_path / "m.csv", MANIFEST)["text"]) == ["a red box, é", "no box"]
    assert list(read_table(tmp_path / "r.csv")["reason"]) == ["no_caption"]


def test_what_can_not_be_read_is_one_sentence(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--manifest", f"{tmp_path}/m.csv", "--rejected", f"{tmp_path}/r.csv"]
    words += ["--funnel", f"{tmp_path}/f.json"]
    assert main(["import-manifest", str(clips), *words]) == EXIT_USER  # no caption anywhere
    assert "no layout that is known; it takes " in capsys.readouterr().err
    settings = musubi_folder(clips)
    assert main(["import-manifest", str(settings), "--root", "x", *words]) == EXIT_USER
    assert "--root x: belongs to tables" in capsys.readouterr().err
    for text, message in {
        '[[datasets]]\nvideo_directory = "gone"': "dataset.toml: gone does not exist",
        "[[datasets]]\nbatch_size = 1": "names no video_directory",
        "datasets = [1]": "expected tables of settings",
        "datasets = []": "datasets is empty",
        "[[datasets": "dataset.toml: ",
    }.items():
        settings.write_text(text)
        with pytest.raises(TableError, match=message):
            read_clips(settings)
    two_lists(clips)
    (clips / "prompts.txt").write_text("one\n")
    with pytest.raises(TableError, match=r"videos.txt has 3 lines and prompts.txt 1"):
        read_clips(clips)


def test_a_line_separator_in_a_caption_parts_no_line(clips: Path) -> None:
    settings = musubi_lines(clips)
    lines = clips.parent / "x.jsonl"
    lines.write_text(lines.read_text().replace("no box", "no\u2028box"), encoding="utf-8")
    assert list(read_clips(settings)["text"])[2] == "no\u2028box"


def test_names_of_a_folder_are_looked_at_without_a_path_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no reader fits, no file of many is asked what it is: names and one listing do."""
    for name in ("b.MP4", "a.mp4", "c.txt", ".d.mp4", "e.tar.gz"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "f.mov").touch()
    (tmp_path / "a.txt").mkdir()  # a folder is no caption
    assert names_in(tmp_path, {".mp4"}) == [".d.mp4", "a.mp4", "b.MP4"]
    assert [path.name for path in folders_of(tmp_path)[1:]] == ["a.txt", "inner"]
    asked: list[str] = []
    plain = Path.is_file

    def count(path: Path) -> bool:
        asked.append(path.name)
        return plain(path)

    monkeypatch.setattr(Path, "is_file", count)
    assert layout_of(tmp_path) == ""
    assert set(asked) & {"b.MP4", "a.mp4", ".d.mp4", "f.mov", "c.txt"} == set()
    (tmp_path / "c.mp4").touch()
    assert layout_of(tmp_path) == "folder"
