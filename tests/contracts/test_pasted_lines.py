"""The page on configs begins with what users had and what they type here: each line is tried."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from opensora.config.load import load_config
from opensora.core.errors import ConfigError
from tests.contracts.command_checks import check_line
from tests.contracts.config_checks import CHECKS
from tests.contracts.shown_paths import REPOSITORY

PAGE = (REPOSITORY / "docs/configs.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## You had, you type")[2].partition("\n## ")[0]
WORDS_ALONE = ("not here", "leave them out")  # cells that name nothing to type


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


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_takes_its_words(line: str, place: Path, made: list[str]) -> None:
    words = shlex.split(line)
    assert words[1] in CHECKS
    check_line(line, place=place, made=made)
    if words[1] == "train":  # as the reference: from videos, on GPUs
        assert {"--data-path", "--gpus"} <= set(words)


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
    (tmp_path / "mine/videos").mkdir(parents=True)
    shutil.copy(REPOSITORY / "assets/videos/coast-road.mp4", tmp_path / "mine/videos")
    (tmp_path / "mine/captions.csv").write_text("path,start,end,text\n")
    (tmp_path / "mine/prompts.txt").write_text("a cat\n")
    command = [sys.executable, "-m", *shlex.split(line), "--dry-run", "--directory", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "build_manifest" in done.stdout


def test_every_row_is_of_a_kind_that_is_tried() -> None:
    assert len(COMMANDS) + len(IMPORTS) + len(WORKFLOWS) == len(TYPED)
    assert all(len(row) == 3 for row in ROWS)


# words of a pasted command that stand for nothing here -> what to do
RETIRED = {
    "--sample-name long": "sample_name: samples are named by their prompts",
    "--start-index 0 --end-index 3": "start_index: give the prompts",
    "--prompt-as-path": "prompt_as_path: samples are named by their prompts",
    "--resolution 480p --aspect-ratio 9:16": "resolution: give --image-size HEIGHT WIDTH",
    "--llm-refine True": "llm_refine: no language model rewrites prompts",
    "--aes 6.5 --flow 5": "aes: say it in the prompt",
    "--height 256 --width 256": "height: give --image-size HEIGHT WIDTH",
    "--negative-prompt ugly": "negative_prompt: guidance leads away from the empty text",
    "--outputs mine/samples": "outputs: give --save-dir DIR",
    "--class-labels 207 360": "class_labels: a class is a prompt: give its number with --prompt",
    "--txt_file x --model_path y": "txt_file: give --prompt",
    "--sampling_algo dpms --step 20": "sampling_algo: give --scheduler.type, such as dpm-solver",
    "--config x.py": "config: name the config without it, as the first word",
    "--video_length 49 --infer_steps 20": "video_length: give --num-frames",
    "--offload": "offload: --batch-size, .* say what a GPU holds; leave it out",
}


@pytest.mark.parametrize("words", RETIRED)
def test_an_option_that_is_not_here_says_what_to_do(words: str) -> None:
    from opensora.sampling.settings import FIELDS

    config = REPOSITORY / "configs/opensora-v1-1/inference/sample.py"
    with pytest.raises(ConfigError, match=RETIRED[words]):
        load_config(config, words.split(), known=FIELDS, kind="inference")


TRAINERS = {
    "--training_type lora --rank 64": "training_type: give --lora.rank, ",
    "--network_module networks.lora_wan": "network_module: give --lora.rank, ",
    "--dataset_config training.json": "dataset_config: give --data-path of a table",
    "--train_steps 3000": "train_steps: give --num-steps$",
    "--dp_degree 2 --dp_shards 1": "dp_degree: give --gpus N, and --sp-size",
    "--deepspeed": "deepspeed: give --gpus N",
    "--cache_only": "cache_only: latents are made before training, and anew where",
    "--warmup": "unknown field 'warmup'; did you mean 'warmup_steps'",
    "--save_every_n_epochs 1": "save_every_n_epochs: give --ckpt-every, in steps",
    "--micro-frame-size 17": "micro_frame_size: give --vae.micro-batch-size",
}


@pytest.mark.parametrize("words", TRAINERS)
def test_an_option_of_another_trainer_says_what_to_do(words: str) -> None:
    from opensora.training.config import KNOWN_FIELDS

    config = REPOSITORY / "configs/opensora-v1-1/train/stage1.py"
    with pytest.raises(ConfigError, match=TRAINERS[words]):
        load_config(config, words.split(), known=KNOWN_FIELDS, kind="train")


COMMANDS_ELSEWHERE = {
    "inference": "no command 'inference'; here it is `opensora sample`;",
    "scripts/inference.py": "here it is `opensora sample`;",
    "scripts/train.py": "here it is `opensora train`;",
    "tools/scene_cut/scene_detect.py": "here it is `opensora detect-scenes`;",
    "tools.datasets.datautil": "`opensora --help` lists them",
    "configs/opensora/train/16x256x256.py": "a command stands before its config:",
    "mine/pets.yaml": "it is run by: snakemake --profile profiles/local report --configfile mine/",
    "sampel": "did you mean 'sample'?",
    "wxyz": "no command 'wxyz'; `opensora --help` lists them",
}


@pytest.mark.parametrize("word", COMMANDS_ELSEWHERE)
def test_a_command_of_others_names_ours(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    from opensora.cli.main import EXIT_USER, main

    assert main([word]) == EXIT_USER
    assert COMMANDS_ELSEWHERE[word] in capsys.readouterr().err


def test_commands_of_others_name_ones_there_are() -> None:
    from opensora.cli.main import COMMANDS
    from opensora.config.other_names import _COMMANDS as OTHERS

    assert set(OTHERS.values()) <= set(COMMANDS)
    assert not set(OTHERS) & set(COMMANDS)


def test_no_hint_stands_in_the_way_of_a_field() -> None:
    from opensora.config.fields import aliases
    from opensora.config.other_names import RETIRED as OTHERS
    from opensora.sampling.settings import FIELDS
    from opensora.training.config import KNOWN_FIELDS

    known = {"inference": FIELDS, "train": KNOWN_FIELDS}
    for kind, fields in known.items():
        assert not OTHERS.keys() & aliases(kind).keys()
        hidden = OTHERS.keys() & set(fields)
        assert hidden == ({"outputs"} if kind == "train" else set())


def test_a_hint_of_training_names_a_field_there_is() -> None:
    from opensora.config.fields import aliases
    from opensora.config.other_names import RETIRED as OTHERS
    from opensora.sampling.settings import FIELDS
    from opensora.training.config import KNOWN_FIELDS

    known = {*FIELDS, *KNOWN_FIELDS, *aliases("train"), *aliases("inference"), "gpus"}
    named = [re.findall(r"--([a-z-]+)", hint) for hint in OTHERS.values()]
    assert {name.replace("-", "_") for names in named for name in names} <= known


def test_starting_from_scratch_says_what_to_do() -> None:
    from opensora.training.config import KNOWN_FIELDS

    config = REPOSITORY / "configs/opensora-v1-1/train/stage1.py"
    with pytest.raises(ConfigError, match="a new folder of outputs starts afresh"):
        load_config(config, ["--start-from-scratch"], known=KNOWN_FIELDS, kind="train")
