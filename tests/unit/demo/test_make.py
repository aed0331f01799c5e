"""The written world: tables agree with the files, trouble is named, bytes repeat."""

from pathlib import Path

import pytest

from opensora.core.errors import OpenSoraError, VideoError
from opensora.core.io import sha256_file
from opensora.demo.detector import detect
from opensora.demo.make import make_demo
from opensora.demo.world import COLOURS, HELD_OUT, Combination
from opensora.media.decode import read_frames
from opensora.media.probe import probe
from opensora.tables.io import read_table

SIZE = {"num_videos": 3, "num_images": 4, "scenes_per_video": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "world"
    made = make_demo(folder, **SIZE, seed=1, workers=1)
    assert (made.num_films, made.num_stills, made.num_scenes, made.num_trouble) == (3, 4, 6, 8)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def test_equal_seeds_give_equal_bytes_whatever_the_number_of_workers(
    world: Path, tmp_path: Path
) -> None:
    make_demo(tmp_path / "again", **SIZE, seed=1, workers=2)
    make_demo(tmp_path / "other", **SIZE, seed=2, workers=1)
    first, again, other = map(hashes, (world, tmp_path / "again", tmp_path / "other"))
    assert first == again
    assert first.keys() == other.keys()
    assert first["videos/films/film_0000.mp4"] != other["videos/films/film_0000.mp4"]


def test_the_truth_follows_the_files_frame_by_frame(world: Path) -> None:
    truth = read_table(world / "truth" / "scenes.csv")
    assert len(truth) == 3 * 2 + 4 + 2 * 2 + 2  # scenes, stills, scenes of copies, copied stills
    for path, scenes in truth.groupby("path"):
        info = probe(world / str(path))
        assert scenes["start_frame"].iloc[0] == 0
        assert scenes["end_frame"].iloc[-1] == info.num_frames
        assert (scenes["start_frame"].iloc[1:].values == scenes["end_frame"].iloc[:-1].values).all()
        assert scenes["end"].iloc[-1] == pytest.approx(info.duration_s, abs=1e-5)


def test_what_is_seen_in_each_scene_is_what_the_truth_says(world: Path) -> None:
    truth = read_table(world / "truth" / "scenes.csv")
    for row in truth.itertuples():
        step = max(1, (row.end_frame - row.start_frame) // 16)
        frames = read_frames(world / row.path, range(row.start_frame, row.end_frame, step))
        seen = detect(frames)
        assert (seen.colour, seen.shape, seen.direction or "") == (
            row.colour,
            row.shape,
            row.direction,
        )
        assert Combination(row.colour, row.shape, row.direction) not in HELD_OUT


def test_captions_agree_with_the_truth_and_stills_have_no_time(world: Path) -> None:
    captions = read_table(world / "captions.csv")
    truth = read_table(world / "truth" / "scenes.csv")
    assert list(captions.columns) == ["path", "start", "end", "text"]
    for caption, row in zip(captions.itertuples(), truth.itertuples(), strict=True):
        assert caption.path == row.path
        assert {row.colour, row.shape} <= set(caption.text.split())
        assert row.direction in caption.text
    is_still = captions["path"].str.endswith(".png")
    assert captions.loc[is_still, ["start", "end"]].isna().all(axis=None)
    assert captions.loc[~is_still, "start"].to_list() == truth.loc[~is_still, "start"].to_list()


def test_each_troublesome_file_fails_or_repeats_as_listed(world: Path) -> None:
    broken = read_table(world / "truth" / "broken.csv")
    expected = {"no_video_stream", "duplicate", "empty_file", "not_a_video", "corrupt"}
    assert set(broken["reason"]) == expected
    known = hashes(world / "videos")
    for row in broken.itertuples():
        if row.reason == "duplicate":
            digest = sha256_file(world / row.path)
            assert list(known.values()).count(digest) == 2
        else:
            with pytest.raises(VideoError) as caught:
                probe(world / row.path)
            assert caught.value.reason == row.reason


def test_prompt_files_agree(world: Path) -> None:
    prompts = read_table(world / "truth" / "prompts.csv")
    held_out = prompts.loc[prompts["split"] == "heldout", "prompt"].to_list()
    assert (world / "prompts.txt").read_text().splitlines() == held_out
    assert len(held_out) == 48
    assert len(prompts) == 96


def test_an_older_world_is_replaced_but_nothing_else_is_ever_deleted(tmp_path: Path) -> None:
    small = {"num_videos": 1, "num_images": 0, "scenes_per_video": 1, "workers": 1}
    target = tmp_path / "world"
    (target / "truth").mkdir(parents=True)  # a workflow may have made empty folders
    make_demo(target, **small, seed=1)
    before = hashes(target)
    make_demo(target, **small, seed=2)
    assert hashes(target) != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not delete")
    with pytest.raises(OpenSoraError, match="choose a new folder"):
        make_demo(tmp_path / "mine", **small)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not delete"


def test_a_world_of_some_colours_shows_these_alone_and_its_prompts_all(tmp_path: Path) -> None:
    size = {"num_videos": 2, "num_images": 6, "scenes_per_video": 3, "workers": 1}
    make_demo(tmp_path / "some", **size, colours=["red", "blue"])
    make_demo(tmp_path / "all", **size)
    make_demo(tmp_path / "named", **size, colours=list(COLOURS))
    assert set(read_table(tmp_path / "some/truth/scenes.csv")["colour"]) == {"red", "blue"}
    assert not read_table(tmp_path / "some/captions.csv")["text"].str.contains("yellow").any()
    assert hashes(tmp_path / "named") == hashes(tmp_path / "all") != hashes(tmp_path / "some")
    prompts = (tmp_path / "some/prompts.txt").read_text()
    assert prompts == (tmp_path / "all/prompts.txt").read_text()
    with pytest.raises(ValueError, match="no colour 'pink'; choose some of red, green"):
        make_demo(tmp_path / "pink", **size, colours=["pink"])


@pytest.mark.parametrize("size", [{"num_videos": 0}, {"scenes_per_video": 0}, {"num_images": -1}])
def test_a_world_without_anything_is_refused(tmp_path: Path, size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one video"):
        make_demo(tmp_path / "world", **size)
