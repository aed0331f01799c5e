"""The page on configs begins with what users had and what they type here: each line is tried."""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from opensora.cli.main import main
from opensora.config.load import load_config
from opensora.config.registry import CAPTIONERS, SCORERS, check_fields, registered_names
from opensora.core.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/configs.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## You had, you type")[2].partition("\n## ")[0]
WORDS_ALONE = ("not here", "leave them out")  # cells that name nothing to type
# what the lines name and users bring
TABLES = ("meta", "videos", "scenes", "clips", "captions", "captions_of_videos")
WEIGHTS = ("weights.pth", "outputs/001-STDiT-XL-2/epoch12-global_step2000/ema.pt")


def rows() -> list[list[str]]:
    """Cells of every row: had, type, differs."""
    lines = [line for line in SECTION.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if set(row[0]) != {"-"} and not row[0].endswith("you had")]


ROWS = rows()
TYPED = [re.fullmatch(r"`(.+)`", row[1]).group(1) for row in ROWS if row[1] not in WORDS_ALONE]
COMMANDS = [line for line in TYPED if line.startswith("opensora ")]
IMPORTS = [line for line in TYPED if line.startswith("from ")]
WORKFLOWS = [line for line in TYPED if line.startswith("snakemake ")]


@pytest.fixture(name="place")
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as the repository, with the files that users bring."""
    for name in ("configs", "assets"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    rows = {"path": ["a.mp4"], "text": ["a cat"], "num_frames": [99]}
    for name in TABLES:
        pd.DataFrame({**rows, "height": 720, "width": 1280}).to_csv(tmp_path / f"{name}.csv")
    (tmp_path / "prompts.txt").write_text("a cat\n")
    (tmp_path / "FOLDER").mkdir()
    for name in WEIGHTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_train(args: Namespace) -> None:
    from opensora.training.config import read_train_config

    config, _ = read_train_config(args.config, args.overrides, outputs=args.outputs, load=args.load)
    assert config.is_online
    assert args.gpus > 1
    check_weights(config.load, config.model.get("from_pretrained"))


def check_sample(args: Namespace) -> None:
    from opensora.cli.sample import given_options
    from opensora.sampling.prompt_text import loop_texts
    from opensora.sampling.prompts import prompts_of
    from opensora.sampling.settings import FIELDS, SamplingSettings

    words = [*given_options(args), *args.overrides]
    config = load_config(args.config, words, known=FIELDS, kind="inference").to_dict()
    settings = SamplingSettings.from_config(config)
    for prompt in prompts_of(config, settings):
        loop_texts(prompt.text, settings.loop, str)
    check_weights(config["model"]["from_pretrained"])


def check_weights(*names: str | None) -> None:
    """Weights are those that users bring, or have the name of an official file."""
    from opensora.models.weights.pretrained import OFFICIAL_FILES

    brought = {*WEIGHTS, *OFFICIAL_FILES}
    assert all(name is None or name in brought or "/" in name for name in names), names


def check_search(args: Namespace) -> None:
    from opensora.buckets.bucket_config import parse_bucket_config
    from opensora.training.config import KNOWN_FIELDS
    from opensora.training.step_timer import require_parts

    config = load_config(args.config, args.overrides, known=KNOWN_FIELDS).to_dict()
    require_parts(config)
    rules = parse_bucket_config(config["bucket_config"], ranges=True)
    assert args.base_bucket in [f"{rule.resolution}:{rule.num_frames}" for rule in rules]


def check_ingest(args: Namespace) -> None:
    assert (args.shards_dir is None) == (args.num_shards is None)


def check_scenes(args: Namespace) -> None:
    from opensora.curation.scenes.boundaries import SceneSettings

    SceneSettings(args.detector, args.threshold, args.min_scene_s, args.transitions)


def check_clips(args: Namespace) -> None:
    from opensora.curation.clips.lengths import ClipSettings

    ClipSettings(args.min_s, args.max_s, args.fps, args.short_side, args.mode)


def check_scores(args: Namespace) -> None:
    from opensora.cli.score_clips import _options

    for name, options in _options(args).items():
        check_fields({"type": name, **options}, SCORERS)
    assert ("match" in args.scorer) == (args.captions is not None)


def check_captions(args: Namespace) -> None:
    assert args.captioner in registered_names(CAPTIONERS)
    assert (args.captioner == "transformers") == (args.model is not None)


def check_manifest(args: Namespace) -> None:
    from opensora.cli.build_manifest import _group_scores, _parse_filters
    from opensora.curation.manifest.filters import parse_filters
    from opensora.tables.columns import MANIFEST

    scorers = _group_scores(args.scores)
    assert scorers.keys() <= set(registered_names(SCORERS))
    columns = {"aesthetic": "aes"}
    known = {*MANIFEST.columns, *(columns.get(name, name) for name in scorers)}
    assert {bound.column for bound in parse_filters(_parse_filters(args.filters))} <= known


CHECKS: dict[str, Callable[[Namespace], None]] = {
    "train": check_train,
    "sample": check_sample,
    "search-batch-size": check_search,
    "ingest-videos": check_ingest,
    "detect-scenes": check_scenes,
    "split-clips": check_clips,
    "score-clips": check_scores,
    "caption-clips": check_captions,
    "build-manifest": check_manifest,
}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_takes_its_words(line: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line)[1:]
    module = importlib.import_module(f"opensora.cli.{words[0].replace('-', '_')}")
    tried = []

    def run(args: Namespace) -> str:
        CHECKS[words[0]](args)
        tried.append(words[0])
        return ""

    monkeypatch.setattr(module, "run", run)  # the parser is the command's, the work is not done
    assert main(words) == 0
    assert tried


@pytest.mark.parametrize("line", IMPORTS)
def test_a_line_of_python_runs(line: str) -> None:
    exec(line, {})


def test_what_the_registries_are_imported_for_works() -> None:
    names: dict = {}
    exec("from opensora.registry import DATASETS, MODELS, SCHEDULERS, build_module", names)
    scheduler = names["build_module"]({"type": "iddpm"}, names["SCHEDULERS"])
    assert hasattr(scheduler, "training_losses")


@pytest.mark.parametrize("line", WORKFLOWS)
def test_a_workflow_plans_its_jobs(line: str, tmp_path: Path) -> None:
    (tmp_path / "data/videos").mkdir(parents=True)
    shutil.copy(REPOSITORY / "assets/videos/coast-road.mp4", tmp_path / "data/videos")
    (tmp_path / "data/captions.csv").write_text("path,start,end,text\n")
    (tmp_path / "data/prompts.txt").write_text("a cat\n")
    command = [sys.executable, "-m", *shlex.split(line), "--dry-run", "--directory", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "build_manifest" in done.stdout


def test_every_row_is_of_a_kind_that_is_tried() -> None:
    assert len(COMMANDS) + len(IMPORTS) + len(WORKFLOWS) == len(TYPED)
    assert {line.split()[1] for line in COMMANDS} == set(CHECKS)
    assert all(len(row) == 3 for row in ROWS)


# words of a pasted command that stand for nothing here -> what to do
RETIRED = {
    "--sample-name long": "sample_name: samples are named by their prompts",
    "--start-index 0 --end-index 3": "start_index: give the prompts",
    "--prompt-as-path": "prompt_as_path: samples are named by their prompts",
    "--resolution 480p --aspect-ratio 9:16": "resolution: give --image-size HEIGHT WIDTH",
}


@pytest.mark.parametrize("words", RETIRED)
def test_an_option_that_is_not_here_says_what_to_do(words: str) -> None:
    from opensora.sampling.settings import FIELDS

    config = REPOSITORY / "configs/opensora-v1-1/inference/sample.py"
    with pytest.raises(ConfigError, match=RETIRED[words]):
        load_config(config, words.split(), known=FIELDS, kind="inference")


def test_starting_from_scratch_says_what_to_do() -> None:
    from opensora.training.config import KNOWN_FIELDS

    config = REPOSITORY / "configs/opensora-v1-1/train/stage1.py"
    with pytest.raises(ConfigError, match="a new folder of outputs starts afresh"):
        load_config(config, ["--start-from-scratch"], known=KNOWN_FIELDS, kind="train")
