"""What is proposed for folders of several layouts, and that the workflow's schema takes it."""

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from opensora.core.errors import TableError
from opensora.curation.survey import places
from opensora.curation.survey.account import account, size
from opensora.curation.survey.costs import clip_bytes, footage_seconds
from opensora.curation.survey.look import SAMPLE, Sample, look
from opensora.curation.survey.prompts import PROMPTS, prompts_of
from opensora.curation.survey.proposal import Proposal, propose
from opensora.curation.survey.walk import walk
from opensora.curation.survey.words import Words, find_words
from opensora.dag.settings import check_workflow_config
from opensora.media.encode import write_video

SCHEMA = Path(__file__).parents[4] / "workflow/schemas/config.schema.yaml"


def film(path: Path, seconds: float = 2.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = np.linspace(0, 255, round(8 * seconds)).astype(np.uint8)
    write_video(path, np.broadcast_to(shades[:, None, None, None], (len(shades), 32, 32, 3)), 8)


def proposed(folder: Path) -> tuple[dict[str, Any], Proposal, Sample, Words]:
    """The config as the workflow reads it."""
    found = walk(folder)
    sample, words = look(found.media, workers=1), find_words(folder, found)
    prompts = folder / "prompts.txt"
    made = propose(
        folder, found, sample, words, name="pets", config=Path("mine/pets.yaml"), prompts=prompts
    )
    config = yaml.safe_load(made.text)
    check_workflow_config(config, SCHEMA)
    assert account(found, sample, words, made)
    assert footage_seconds(sample, made)
    return config, made, sample, words


def test_long_videos_without_captions(tmp_path: Path) -> None:
    for number in range(3):
        film(tmp_path / f"RedCars/{number}.mp4", 5)
    (tmp_path / "RedCars/torn.mp4").write_bytes(b"no film")
    config, made, sample, words = proposed(tmp_path)
    assert config["captions"]["captioner"] == "template"
    assert config["corrections"] == "mine/pets.corrections.csv"  # need not be there
    assert config["clips"]["mode"] == made.mode == "reencode"
    assert (config["num_shards"], config["validation_fraction"]) == (2, 0.0)
    assert words.prompts == ["video of red cars"]
    assert sample.left_out == {"not_a_video": 1}
    assert sample.footage_s == pytest.approx(15 * 4 / 4)
    assert made.clips == 6  # two a video
    assert clip_bytes(sample, words, made) > 0


def test_clips_with_texts_beside_are_copied(tmp_path: Path) -> None:
    for number, text in enumerate(["a cat", 'a {"loop": 3}', "a dog\nthat runs"]):
        film(tmp_path / f"{number}.mp4", 2 + number)
        (tmp_path / f"{number}.txt").write_text(text)
    config, made, sample, words = proposed(tmp_path)
    assert config["scenes"]["detector"] == "none"
    assert (config["clips"]["mode"], config["clips"]["max_s"]) == ("copy", 5)
    assert (config["captions"]["captioner"], config["captions"]["sidecar"]) == ("sidecar", [])
    assert words.prompts == ["a cat", "a dog that runs"]  # none that would bring settings
    assert (made.clips, clip_bytes(sample, words, made)) == (3, sample.bytes)


def test_sound_is_found_and_not_said_to_be_speech(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    _, made, sample, words = proposed(tmp_path)
    lines = dict(account(walk(tmp_path), sample, words, made))
    assert lines["sound"] == "in 0 of 1"
    ((one, info),) = sample.good
    sample.seen[0] = replace(one, info=replace(info, has_audio=True))
    lines = dict(account(walk(tmp_path), sample, words, made))
    assert lines["sound"].startswith("in 1 of 1, speech or not (nothing here tells voices apart)")


def test_files_without_a_caption_are_counted_before_they_are_lost(tmp_path: Path) -> None:
    for number in range(3):
        film(tmp_path / f"{number}.mp4")
    (tmp_path / "0.txt").write_text("a cat")
    (tmp_path / "3.mp4").symlink_to("nowhere.mp4")
    _, made, sample, words = proposed(tmp_path)
    assert sample.left_out == {"missing": 1}  # as ingest calls it
    assert made.clips == 1  # of the one with words
    assert "# 3 of 4 files have no caption and are left out (no_caption);" in made.text
    lines = account(walk(tmp_path), sample, words, made)
    assert ("mind", "3 of 4 files have no caption: they are left out as no_caption") in lines


def test_pictures_are_footage_too(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    config, made, sample, _ = proposed(tmp_path)
    assert (made.mode, sample.left_out, sample.footage_s) == ("reencode", {}, 0.0)
    assert made.clips == 1
    assert config["videos"] == [str(tmp_path)]


def test_a_table_of_captions_is_named(tmp_path: Path) -> None:
    film(tmp_path / "v/a.mp4")
    (tmp_path / "metadata.jsonl").write_text(
        json.dumps({"file_name": "v/a.mp4", "text": "a car"}) + "\n"
    )
    (tmp_path / "others.csv").write_text("path,text\nz.mp4,of no file here\n")
    (tmp_path / "broken.csv").write_bytes(b"path,text\n\xff\xfe,\n")
    (tmp_path / "broken.toml").write_text("datasets = [")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    config, made, _, words = proposed(tmp_path)
    assert config["captions"]["sidecar"] == [str(tmp_path / "metadata.jsonl")]
    assert made.mode == "copy"
    assert words.prompts == ["a car"]
    assert words.unread == [str(tmp_path / name) for name in ("broken.csv", "gone.csv")]


OPENVID = (
    "video,caption,aesthetic score,motion score,temporal consistency score,camera motion,"
    "frame,fps,seconds\n"
)


def test_openvid_1m_as_its_page_lays_it_out_begins_with_its_table(tmp_path: Path) -> None:
    """Its table is in one folder and its clips are in another; the larger table of two counts."""
    rows = [f"--{k}_0to16.mp4,a car {k},5.4,1.2,0.99,static,16,8,2.0\n" for k in range(3)]
    for k in range(3):
        film(tmp_path / f"video/--{k}_0to16.mp4")
    tables = tmp_path / "data/train"
    tables.mkdir(parents=True)
    (tables / "OpenVid-1M.csv").write_text("".join([OPENVID, "gone.mp4,no,1,1,1,a,1,8,1\n", *rows]))
    (tables / "OpenVidHD.csv").write_text("".join([OPENVID, *rows[:2]]))
    config, made, _, words = proposed(tmp_path)
    assert config["manifest"] == str(tables / "OpenVid-1M.csv")
    assert config["root"] == str(tmp_path / "video")
    assert (made.mode, words.prompts) == ("import", ["a car 0", "a car 1", "a car 2"])


def test_a_table_of_open_sora_names_files_by_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absolute ones, or from where the command runs, which is not the table's folder."""
    monkeypatch.chdir(tmp_path)
    film(Path("mine/v/a.mp4"))
    for name, text in ((tmp_path / "mine/v/a.mp4", "sidecar"), ("mine/v/a.mp4", "manifest")):
        Path("mine/meta.csv").write_text(f"path,text\n{name},a car\n")
        config, made, *_ = proposed(Path("mine"))
        if text == "sidecar":
            assert config["captions"]["sidecar"] == ["mine/meta.csv"]
        else:
            assert config["manifest"] == "mine/meta.csv"
            assert "root:" not in made.text


def test_a_long_video_that_a_table_elsewhere_names_is_said(tmp_path: Path) -> None:
    film(tmp_path / "video/a.mp4", 25)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/t.csv").write_text("path,text\na.mp4,a car\n")
    config, made, sample, words = proposed(tmp_path)
    assert made.mode == "reencode"
    assert config["captions"] == {**config["captions"], "captioner": "sidecar"}  # they have texts
    assert config["captions"]["sidecar"] == [str(tmp_path / "data/t.csv")]
    lines = account(walk(tmp_path), sample, words, made)
    (said,) = [text for what, text in lines if what == "mind" and "move it there" in text]
    assert f"names these files from {tmp_path / 'video'}," in said


def test_a_table_of_some_of_the_clips_begins_with_those(tmp_path: Path) -> None:
    """Its paths start elsewhere, so it is no sidecar; clips that it does not name have no text."""
    for k in range(4):
        film(tmp_path / f"video/{k}.mp4")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/t.csv").write_text("path,text\n0.mp4,a car\n1.mp4,a bus\n")
    (tmp_path / "data/u.csv").write_text("path,text\n2.mp4,a tree\n")
    config, made, sample, words = proposed(tmp_path)
    lines = account(walk(tmp_path), sample, words, made)
    assert any(text.startswith(f"{tmp_path}/data/u.csv: names more files") for _, text in lines)
    assert (made.mode, config["manifest"]) == ("import", str(tmp_path / "data/t.csv"))
    assert config["root"] == str(tmp_path / "video")


def split_folders(folder: Path, seconds: float) -> None:
    for split, number in (("train", 3), ("val", 2)):
        for k in range(number):
            film(folder / f"{split}/{k}.mp4", seconds)
            (folder / f"{split}/{k}.txt").write_text(f"a car {k} of {split}")


def test_folders_that_are_named_as_splits_keep_what_is_held_out(tmp_path: Path) -> None:
    split_folders(tmp_path, 2)
    config, made, *_ = proposed(tmp_path)
    assert (made.mode, config["manifest"]) == ("import", str(tmp_path))
    assert config["validation_fraction"] == 0.0
    film(tmp_path / "more/0.mp4")  # with no caption, and of no split that is named
    assert proposed(tmp_path)[1].mode == "import"
    film(tmp_path / "more/deeper/0.mp4")  # which no reader of the layout finds
    assert proposed(tmp_path)[1].mode == "reencode"


def test_long_videos_in_splits_are_cut_and_the_loss_is_said(tmp_path: Path) -> None:
    split_folders(tmp_path, 21)
    config, made, sample, words = proposed(tmp_path)
    assert (made.mode, config["captions"]["captioner"]) == ("reencode", "sidecar")
    lines = account(walk(tmp_path), sample, words, made)
    assert any("which are held out is drawn anew" in text for _, text in lines)


def test_of_a_large_table_the_beginning_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_LARGEST_TABLE", 100)
    monkeypatch.setattr(places, "HEAD_ROWS", 2)
    for k in range(3):
        film(tmp_path / f"{k}.mp4")
    lines = [f"{k}.mp4,a car that goes along road number {k}\n" for k in range(3)]
    (tmp_path / "meta.csv").write_text("".join(["path,text\n", *lines]))
    config, made, sample, words = proposed(tmp_path)
    assert config["captions"]["sidecar"] == [str(tmp_path / "meta.csv")]
    assert (made.mode, words.in_tables, words.without(3)) == ("copy", 2, 0)
    (said,) = [
        text for what, text in account(walk(tmp_path), sample, words, made) if "rows" in text
    ]
    assert said.endswith("meta.csv 20,000 rows were read")


@pytest.mark.parametrize("layout", ["videofolder", "jsonl"])
def test_clips_that_were_cut_elsewhere_are_not_cut_again(layout: str, tmp_path: Path) -> None:
    """Their seconds in the table are those of the source, where the clip itself begins at 0."""
    table = {"videofolder": "train/metadata.jsonl", "jsonl": "train.jsonl"}[layout]
    path = {"videofolder": "a.mp4", "jsonl": "train/a.mp4"}[layout]
    film(tmp_path / "train/a.mp4")
    row = {"file_name": path, "text": "a car", "source": "/v/film.mp4", "start": 30, "end": 32}
    (tmp_path / table).write_text(json.dumps(row) + "\n")
    config, made, _, words = proposed(tmp_path)
    assert (made.mode, words.prompts) == ("import", ["a car"])
    assert config["manifest"] == str(tmp_path)


def test_a_table_with_times_keeps_the_search_for_cuts(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 6)
    (tmp_path / "captions.csv").write_text("path,start,end,text\na.mp4,0,3,one\na.mp4,3,6,two\n")
    config, made, _, _ = proposed(tmp_path)
    assert made.mode == "reencode"
    assert config["captions"]["sidecar"] == [str(tmp_path / "captions.csv")]


def test_the_table_of_a_public_set_says_where_scenes_are(tmp_path: Path) -> None:
    film(tmp_path / "v/A film [abc].mp4", 6)
    columns = "YoutubeID,Start_timestamp,End_timestamp,Caption"
    table = tmp_path / "internvid.csv"
    table.write_text(f"{columns}\ngone,0:00,0:01,no\nabc,0:00,0:03,one\nabc,0:03,0:05,two\n")
    (tmp_path / "other.csv").write_text(f"{columns}\nelse,0:00,0:01,no\n")
    config, made, _, words = proposed(tmp_path)
    assert config["scenes"]["table"] == str(table)
    assert config["captions"]["sidecar"] == [str(table)]
    assert (made.mode, words.prompts) == ("reencode", ["one", "two"])


def test_an_object_of_videos_is_a_table_of_scenes(tmp_path: Path) -> None:
    film(tmp_path / "abc.mp4", 6)
    scene = {"clip_id": "abc.1_0", "scene_cut": [0, -1], "caption": "one"}
    clip = {"span": ["0:00:01.000", "0:00:04.000"], "fps": 8, "scene_split": [scene]}
    table = tmp_path / "hdvg_0.json"
    table.write_text(json.dumps({"abc": {"url": "", "clip": {"abc.1.mp4": clip}}}))
    config, made, _, words = proposed(tmp_path)
    assert config["scenes"]["table"] == config["captions"]["sidecar"][0] == str(table)
    assert (made.mode, words.prompts) == ("reencode", ["one"])


def test_settings_of_a_trainer_begin_with_its_clips(tmp_path: Path) -> None:
    film(tmp_path / "clips/a.mp4")
    (tmp_path / "clips/a.txt").write_text("a car")
    (tmp_path / "dataset.toml").write_text('[[datasets]]\nvideo_directory = "clips"\n')
    config, made, sample, words = proposed(tmp_path)
    assert config["manifest"] == str(tmp_path / "dataset.toml")
    assert made.mode == "import"
    assert clip_bytes(sample, words, made) == 0


def test_archives_begin_with_the_folder(tmp_path: Path) -> None:
    film(tmp_path / "film.mp4")
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in/a.tar", "w") as archive:
        archive.add(tmp_path / "film.mp4", "1.mp4")
        for name, text in (("1.txt", b"a car"), ("2.txt", b"x{}")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    config, made, _, words = proposed(tmp_path / "in")
    assert config["manifest"] == str(tmp_path / "in")
    assert (made.mode, words.prompts) == ("import", ["a car"])
    parquet = tmp_path / "hub/data/train.parquet"
    parquet.parent.mkdir(parents=True)
    clip = {"bytes": b"", "path": ""}
    pq.write_table(pa.Table.from_pylist([{"video": clip, "caption": "a bus"}]), parquet)
    config, made, sample, words = proposed(tmp_path / "hub")
    assert config["manifest"] == str(tmp_path / "hub")
    assert (made.mode, words.prompts) == ("import", ["a bus"])
    assert clip_bytes(sample, words, made) == parquet.stat().st_size  # its clips are copied out
    (said,) = [t for what, t in account(walk(tmp_path), sample, words, made) if what == "disk"]
    assert "of clips, copied out of their archives once; latents, checkpoints" in said


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], r"no video, picture or archive of clips; it is empty; name the folder"),
        (["a.csv"], r"no video, picture or archive of clips beside its tables"),
        (["a.pdf", "b.pdf"], r"among its files \(2 \.pdf\)"),
        (["a.mp4"], r"none of 1 files that were looked into can be used \(empty_file 1\)"),
    ],
)
def test_nothing_to_begin_with_is_one_sentence(
    names: list[str], sentence: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(TableError, match=sentence):
        proposed(tmp_path)


def test_odd_names_stay_texts_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("2024", "-v", "a: b # c", "{x}", "true"):
        film(tmp_path / name / "a.mp4")
        config, *_ = proposed(Path(name))
        assert [os.path.normpath(path) for path in config["videos"]] == [name]


def test_of_many_files_the_same_two_hundred_are_looked_into(tmp_path: Path) -> None:
    for number in range(SAMPLE + 50):
        (tmp_path / f"{number}.mp4").touch()
    first, again = (look(walk(tmp_path).media, workers=2) for _ in range(2))
    assert [one.path for one in first.seen] == [one.path for one in again.seen]
    assert (len(first.seen), first.total) == (SAMPLE, SAMPLE + 50)
    assert first.left_out == {"empty_file": SAMPLE}


def test_prompts_are_few_and_short() -> None:
    assert prompts_of(["", "a", "a", "b" * 400, "c\u202ed", *"efgh"]) == ["a", "e", "f", "g"]
    assert len(prompts_of("abcdefgh")) == PROMPTS


def test_sizes_are_short() -> None:
    assert [size(number) for number in (5, 1500, 3.2e9, 4e15)] == [
        *("5 B", "1.5 kB", "3.2 GB", "4e+03 TB")
    ]
