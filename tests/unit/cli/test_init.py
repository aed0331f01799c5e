"""`opensora init` writes a config that Snakemake takes as it is, never over one that is there."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from opensora.cli.main import EXIT_DONE, EXIT_USER, main
from opensora.dag.dry_run import PlannedJob, dry_run, with_shards
from opensora.media.encode import write_video

REPOSITORY = Path(__file__).parents[3]


def _rules(jobs: list[PlannedJob]) -> Counter[str]:
    return Counter(job.rule for job in jobs)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the workflow and two videos."""
    for name in ("Snakefile", "workflow", "profiles", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "my videos").mkdir()
    for number in range(2):
        frames = np.full((24, 32, 32, 3), 90 * number, np.uint8)
        write_video(tmp_path / f"my videos/{number}.mp4", frames, 8)
        (tmp_path / f"my videos/{number}.txt").write_text(f"a grey film {number}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_config_runs_as_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "my videos"]) == EXIT_DONE
    said = capsys.readouterr().out.splitlines()
    config = yaml.safe_load((here / "mine/my_videos.yaml").read_text())
    assert config["videos"] == ["my videos"]
    assert Path(config["sample"]["prompts"]).read_text().splitlines() == [
        *("a grey film 0", "a grey film 1")
    ]
    assert said[0].split() == ["files", "2", "videos,", "2", "others"]
    assert said[-2].split()[:3] == ["mind", "2", "clips"]
    assert "jobs, about 2 clips, about" in said[-1]  # snakemake has described them
    assert said[-1].endswith("--configfile mine/my_videos.yaml")
    text = (here / "mine/my_videos.yaml").read_text().replace("num_shards: 1", "num_shards: 3")
    (here / "more.yaml").write_text(text)
    of_two = dry_run(here / "more.yaml", target="report", num_shards=2)
    of_three = dry_run(here / "more.yaml", target="report")
    assert len(of_three) > len(of_two)
    assert _rules(with_shards(of_two, 3)) == _rules(of_three)
    assert _rules(with_shards(of_two, 1)).total() == int(said[-1].split()[1])


def test_real_clips_are_counted_and_make_a_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default = REPOSITORY / "../shared/data/videos"
    folder = Path(os.environ.get("OPENSORA_TEST_VIDEOS", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; OPENSORA_TEST_VIDEOS names the folder of real clips")
    assert main(["init", str(folder), "--output", "mine/real.yaml"]) == EXIT_DONE
    said = {line.partition("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert said["sizes"].count("x") >= 3
    assert said["left out"].endswith("none of those looked into")
    rules = _rules(dry_run(here / "mine/real.yaml", target="report"))
    assert rules["split_clips"] >= 1
    assert rules["report"] == 1


def musubi(folder: Path) -> None:
    text = '[[datasets]]\nvideo_directory = "my videos"\nnum_repeats = 3\n'
    (folder / "dataset.toml").write_text(text)


def public(folder: Path) -> None:
    lines = [f"{k},0:00,0:02,a film {k}" for k in range(2)]
    head = "YoutubeID,Start_timestamp,End_timestamp,Caption"
    (folder / "internvid.csv").write_text("\n".join([head, *lines]) + "\n")


@pytest.mark.parametrize(
    ("layout", "rule"), [(musubi, "import_manifest"), (public, "import_scenes")]
)
def test_other_layouts_are_runs_too(here: Path, layout: Callable[[Path], None], rule: str) -> None:
    layout(here / "my videos")
    assert main(["init", "my videos"]) == EXIT_DONE
    rules = _rules(dry_run(here / "mine/my_videos.yaml", target="report"))
    assert rules[rule] >= 1
    assert rules["report"] == 1


def test_what_is_there_stays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "own.yaml").write_text("run: own\n")
    for words, sentence in (
        (["my videos", "--output", "own.yaml"], "own.yaml: is there already"),
        (["my videos", "--output", "own.json"], "a workflow config is a .yaml file"),
        (["nowhere"], "nowhere: no such folder"),
        (["workflow/schemas"], "no video, picture or archive of clips among its files"),
    ):
        assert main(["init", *words]) == EXIT_USER
        assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert (here / "own.yaml").read_text() == "run: own\n"
    assert main(["init", "my videos", "--output", "own.yaml", "--force"]) == EXIT_DONE
    assert yaml.safe_load((here / "own.yaml").read_text())["run"] == "own"


def test_it_belongs_into_the_folder_of_the_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "."]) == EXIT_USER
    assert "run this in the folder of the workflow" in capsys.readouterr().err
