"""Out by every format and in again as `init` proposes: the same clips, captions and splits."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from opensora.cli.main import main
from opensora.curation.manifest.import_manifest import import_manifest
from opensora.curation.readers.reader import read_clips
from opensora.curation.survey.account import account
from opensora.curation.survey.look import look
from opensora.curation.survey.proposal import propose
from opensora.curation.survey.walk import walk
from opensora.curation.survey.words import find_words
from opensora.dag.settings import check_workflow_config
from opensora.media.encode import write_video
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table

SCHEMA = Path(__file__).parents[4] / "workflow/schemas/config.schema.yaml"
CAPTIONS = (
    *('a "red" box, é', "None", "007", "# a box", "two\tboxes", "a box; a ball", "no \u2028 box"),
    *("[1, 2]", "{box}", "the last"),
)
HELD_OUT = (1, 4, 8)
NAMED_BY_FILES = ("folder", "musubi", "diffusion-pipe", "finetrainers", "ltx")
NAMED_BY_IDS = ("jsonl", "videofolder", "webdataset", "parquet")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A manifest of 7 clips for training and 3 that are held out, and the folder that it is in."""
    folder = tmp_path_factory.mktemp("run")
    rows = []
    for k, text in enumerate(CAPTIONS):
        path = folder / f"{k}hash.mp4"
        write_video(path, np.full((17 + k, 32, 32, 3), 20 * k, np.uint8), 8)
        split = "validation" if k in HELD_OUT else "train"
        rows.append({"path": str(path), "text": text, "split": split, "id": f"film-{k}.of"})
    manifest = import_manifest(pd.DataFrame(rows)).manifest
    write_table(manifest, folder / "manifest.csv", MANIFEST)
    return folder, manifest


def proposed(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The config that `init` proposes for a folder, and what is to be minded."""
    found = walk(folder)
    sample, words = look(found.media, workers=1), find_words(folder, found)
    places = {"config": Path("mine/x.yaml"), "prompts": folder / "x.txt"}
    made = propose(folder, found, sample, words, name="x", **places)
    config = yaml.safe_load(made.text)
    check_workflow_config(config, SCHEMA)
    assert made.mode == "import"
    return config, [text for what, text in account(found, sample, words, made) if what == "mind"]


def taken(folder: Path) -> pd.DataFrame:
    """The manifest of the run that `init` proposes."""
    config, _ = proposed(folder)
    rows = read_clips(Path(config["manifest"]), store=folder.parent / f"{folder.name}-store")
    fraction = config["validation_fraction"]
    return import_manifest(rows, root=config["root"], validation_fraction=fraction).manifest


@pytest.mark.parametrize(
    ("layout", "media"),
    [
        *((layout, "copy") for layout in NAMED_BY_FILES + NAMED_BY_IDS),
        *(("jsonl", "none"), ("parquet", "none")),
    ],
)
def test_what_was_exported_is_read_as_it_was(
    layout: str, media: str, exported: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    folder, first = exported
    out = tmp_path / "out"
    words = ["--format", layout, "--output", str(out), "--media", media]
    if layout in ("musubi", "diffusion-pipe", "finetrainers", "ltx"):
        words += ["--frames", "17"]
    assert main(["export", "--manifest", f"{folder}/manifest.csv", *words]) == 0
    again = taken(out)
    first = first.sort_values(["split", "id"])  # as every format writes them
    names = again["path"].map(lambda path: Path(path).stem)
    assert list(again["id"] if layout in NAMED_BY_IDS else names) == list(first["id"])
    for name in ("sha256", "text", "caption", "split", "num_frames"):
        assert list(again[name]) == list(first[name]), name


def test_held_out_clips_that_no_table_could_name_are_left_out_with_the_reason(
    exported: tuple[Path, pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, first = exported
    words = ["export", "--manifest", f"{folder}/manifest.csv", "--format", "musubi"]
    words += ["--frames", "17", "--output", f"{tmp_path}/out"]
    assert main([*words, "--media", "none"]) == 0
    assert "7 clips, 3 left out" in capsys.readouterr().out
    left = pd.read_csv(tmp_path / "out/left_out.csv")
    assert list(left["id"]) == list(first.loc[first["split"] == "validation", "id"])
    assert set(left["detail"]) == {"validation: the trainer reads clips of training alone"}
    assert len(taken(tmp_path / "out")) == 7


def test_clips_beside_settings_without_captions_are_said(
    exported: tuple[Path, pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = exported
    words = ["export", "--manifest", f"{folder}/manifest.csv", "--format", "musubi"]
    assert main([*words, "--frames", "17", "--output", f"{tmp_path}/out"]) == 0
    for text in (tmp_path / "out/validation").glob("*.txt"):
        text.unlink()
    assert len(taken(tmp_path / "out")) == 7
    assert f"3 clips in {tmp_path}/out/validation are not in it" in capsys.readouterr().err


def two_data_sets(exported: tuple[Path, pd.DataFrame], folder: Path) -> None:
    """Settings of clips with texts beside them, and of others with some that are held out."""
    run, first = exported
    words = ["export", "--manifest", f"{run}/manifest.csv", "--format", "diffusion-pipe"]
    assert main([*words, "--frames", "17", "--output", f"{folder}/films"]) == 0
    clip = first["path"].iloc[0]
    (folder / "own clips").mkdir()
    (folder / "own clips/a.mp4").write_bytes(Path(clip).read_bytes())
    (folder / "own clips/a.txt").write_text("a box of mine")
    (folder / "dataset.toml").write_text(
        f"[[directory]]\npath = '{folder}/films/train'\n"
        f"[[directory]]\npath = '{folder}/own clips'\nnum_repeats = 4\n"
    )


def test_repeats_of_data_sets_become_those_of_sources(
    exported: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    two_data_sets(exported, tmp_path)
    config, minded = proposed(tmp_path)
    assert [(s["name"], s["manifest"], s["repeat"]) for s in config["sources"]] == [
        ("films", f"{tmp_path}/films", 1),  # with what is held out beside its folder
        ("own-clips", f"{tmp_path}/own clips", 4),
    ]
    assert config["manifest"] is None
    assert not any("num_repeats" in text for text in minded)
    sides = read_clips(tmp_path / "films")["split"].value_counts().to_dict()
    assert sides == {"train": 7, "validation": 3}


def test_repeats_that_no_source_can_have_are_said(
    exported: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    two_data_sets(exported, tmp_path)
    (tmp_path / "own clips/captions.json").write_text('{"a.mp4": ["another text"]}')
    config, minded = proposed(tmp_path)
    assert config["manifest"] == f"{tmp_path}/dataset.toml"
    assert any("num_repeats is not taken over" in text for text in minded)
    assert len(taken(tmp_path)) == 11


def test_weights_of_sources_that_do_not_go_out_are_said(
    exported: tuple[Path, pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, first = exported
    named = first.assign(source_name=["web", *["film"] * 9])
    write_table(named, tmp_path / "manifest.csv", MANIFEST)
    words = ["export", "--manifest", f"{tmp_path}/manifest.csv", "--format", "jsonl"]
    assert main([*words, "--output", f"{tmp_path}/out"]) == 0
    assert "weight and repeat of sources (film, web) do not go out" in capsys.readouterr().err
