"""Gives the words of a shown command to the command's own parser and checks, and computes nothing.

A path among the words is known when the repository has it, when a finished run makes it
(`results/`, `logs/` and `benchmarks/` of any run), when it is published under this name, or when
it is the reader's: in CAPITALS, or below `mine/`.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import re
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from opensora.cli.main import COMMANDS, main
from opensora.config.load import load_config, parse_overrides
from opensora.config.registry import CAPTIONERS, SCORERS, check_fields, registered_names

REPOSITORY = Path(__file__).parents[2]
MADE_FOLDERS = ("results", "logs", "benchmarks")  # of a run, beside the repository's files
YOURS = "mine"
HUB_NAMES = (
    "stabilityai/sd-vae-ft-ema",
    "DeepFloyd/t5-v1_1-xxl",
    "llava-hf/llava-v1.6-mistral-7b-hf",
)
# where a line leaves the config to the reader, one that the command takes
STAND_INS = {"sample": "configs/opensora-v1-1/inference/sample.py"}
STAND_IN = "configs/opensora-v1-1/train/stage1.py"
# options and config fields whose values are paths, whatever they look like
PATH_NAMES = frozenset(
    [
        *("assignment", "benchmarks", "cache", "captions", "ckpt_path", "clip", "clips"),
        *("clips_dir", "config", "data_card", "data_path", "embeddings", "from_pretrained"),
        *("funnel", "input", "inputs", "json", "latents", "load", "manifest", "measured", "output"),
        *("outputs", "plan", "plot", "prompt_path", "reference_path", "rejected", "root"),
        *("run_dir", "samples", "save_dir", "scenes", "scores", "shards_dir", "sidecar", "summary"),
        *("text_encoder", "truth", "vae", "videos"),
    ]
)
_FILE = re.compile(
    r"[\w.{}*/+-]+\.(?:csv|html|jpg|jsonl?|mp4|parquet|png|pth?|py|safetensors|svg|tsv|txt|ya?ml)\b"
)
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_ELISIONS = ("...", "…")


class Refused(AssertionError):
    """A command that its program would refuse, or that names what is not there."""


# ---------------------------------------------------------------------------------- a whole line


def check_line(line: str, *, place: Path, made: Collection[str], whole: bool = True) -> None:
    """Check one command.

    Args:
        line: as it is typed; assignments of the environment may stand in front.
        place: the working folder (see `furnish`); it is the current one.
        made: files and folders that a finished run of configs/workflow/test.yaml holds.
        whole: False for a mention in running text, which may leave out what a command requires.

    Raises:
        Refused: the parser, a check of the config, or a path says no.
    """
    words = shlex.split(line)
    while _ASSIGNMENT.fullmatch(words[0]):
        del words[0]
    whole = whole and not any(mark in words for mark in _ELISIONS)
    program, *rest = [word for word in words if word not in _ELISIONS]
    for path in paths_in(rest):
        require_known(path, made)
        bring(place, path)
    if program == "opensora":
        check_opensora(rest, place=place, made=made, whole=whole)
    elif program == "snakemake":
        check_snakemake(rest, place=place, made=made)
    elif program == "make":
        check_make(rest)
    elif program == "pip":
        check_pip(rest, made=made)
    elif program == "python":
        check_python(rest)
    else:
        assert program == "cp", program


def paths_in(words: Sequence[str]) -> list[str]:
    """What looks like a path, also inside JSON and behind `name=`."""
    found = [match for word in words for match in _FILE.findall(word)]
    starts = (f"{YOURS}/", *(f"{name}/" for name in MADE_FOLDERS))
    found += [word for word in words if word.startswith(starts)]
    return list(dict.fromkeys(found))


def require_known(path: str, made: Collection[str]) -> None:
    """Refuse a path that nobody has."""
    from opensora.models.weights.pretrained import OFFICIAL_FILES

    path = path.removeprefix("./").rstrip("/")
    first, *rest = path.split("/")
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", first) or first == YOURS:
        return
    if path in OFFICIAL_FILES or path in HUB_NAMES:
        return
    if first == "results" and rest:
        path = "/".join(["results", "test", *rest[1:]])
    elif first in MADE_FOLDERS:
        raise Refused(f"{path}: say which file of {first}/ is meant below results/")
    elif (REPOSITORY / path).exists():
        return
    inside = any(path == name or name.startswith(f"{path}/") for name in made)
    if not inside:
        raise Refused(
            f"{path}: not in the repository and not made by a run; what is the reader's stands"
            f" below {YOURS}/ or in CAPITALS"
        )


def bring(place: Path, path: str) -> None:
    """Make what is the reader's, so that commands find it."""
    target = place / path
    mine = path.removeprefix("./").startswith(YOURS) or re.match(r"[A-Z][A-Z0-9_]*(/|$)", path)
    if not mine or target.exists() or any(mark in path for mark in "*{"):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.suffix:
        target.mkdir()
    elif target.suffix == ".csv":
        rows = {"path": ["a.mp4"], "text": ["a cat"], "num_frames": [99]}
        pd.DataFrame({**rows, "height": 720, "width": 1280}).to_csv(target)
    elif target.suffix == ".yaml":
        shutil.copy(REPOSITORY / "configs/workflow/mine.yaml", target)
    elif target.suffix == ".txt":
        target.write_text("a cat\n")
    else:
        target.touch()


def furnish(place: Path, made: Collection[str]) -> None:
    """Fill a working folder: the repository's files, and what runs called `demo` and `test` left.

    Files of a run are empty, except tables and prompts.
    """
    for item in REPOSITORY.iterdir():
        if item.name[0] != "." and item.name not in (*MADE_FOLDERS, YOURS):
            (place / item.name).symlink_to(item)
    for name in made:
        for run in ("demo", "test"):
            target = place / name.replace("results/test/", f"results/{run}/", 1)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix:
                target.write_text("a cat\n" if target.suffix == ".txt" else "")
            else:
                target.mkdir(exist_ok=True)


# ------------------------------------------------------------------------------------- opensora


def check_opensora(
    words: Sequence[str], *, place: Path, made: Collection[str], whole: bool = True
) -> None:
    """Let `opensora` parse the words, with the command's work replaced by its checks."""
    if words[0] in ("--help", "--version"):
        return
    if words[0] not in COMMANDS:
        raise Refused(f"opensora has no command {words[0]!r}")
    try:
        run_checks(words, place=place, made=made)
    except Refused as error:
        is_name = len(words) == 1 or (words[0] == "bench" and len(words) == 2)
        if whole or not (is_name or "the following arguments are required" in str(error)):
            raise
        run_checks(words, place=place, made=made, relaxed=True)


def run_checks(
    words: Sequence[str], *, place: Path, made: Collection[str], relaxed: bool = False
) -> None:
    """Call the program's `main` with the words; `relaxed` leaves out what is required."""
    name = words[0]
    module = importlib.import_module(f"opensora.cli.{name.replace('-', '_')}")
    tried = []

    def run(args: Namespace) -> str:
        for path in paths_of(args):
            require_known(path, made)
            bring(place, path)
        is_mine = str(getattr(args, "config", "")) == "CONFIG"
        if is_mine:  # only the fields that are shown can be checked
            stand_in = STAND_INS.get(name, STAND_IN)
            load_config(stand_in, args.overrides, known=fields_of(name), kind=kind_of(name))
        elif not relaxed and name in CHECKS:
            CHECKS[name](args)
        tried.append(name)
        return ""

    given = module.add_arguments

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        given(parser)
        for action in every_action(parser):
            action.required = False

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr(module, "run", run)
        if relaxed:
            patch.setattr(module, "add_arguments", add_arguments)
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                code = main(list(words))
            except SystemExit as stop:
                code = int(stop.code or 0)
            except Refused:
                raise
            except AssertionError as error:
                raise Refused(str(error)) from error
    is_help = "--help" in words or "-h" in words
    if code or not (tried or is_help):
        raise Refused(said.getvalue().strip() or f"exit code {code}")


def every_action(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Options and arguments of a parser and of its sub-commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                yield from every_action(part)


def paths_of(args: Namespace) -> list[str]:
    """Values of the options and config fields that are paths."""
    values: list[Any] = [value for name, value in vars(args).items() if name in PATH_NAMES]
    for name, value in parse_overrides(args.overrides):
        if name.rpartition(".")[2] in PATH_NAMES:
            values.append(value)
    flat = [part for value in values for part in (value if isinstance(value, list) else [value])]
    named = [str(value).rpartition("=")[2] for value in flat if isinstance(value, str | Path)]
    return [part for value in named if value != "none" for part in value.split(";")]


def fields_of(name: str) -> Collection[str]:
    from opensora.sampling.settings import FIELDS
    from opensora.training.config import KNOWN_FIELDS

    return FIELDS if name == "sample" else KNOWN_FIELDS


def kind_of(name: str) -> Any:
    return {"sample": "inference", "train": "train"}.get(name)


def check_train(args: Namespace) -> None:
    from opensora.training.config import read_train_config

    read_train_config(args.config, args.overrides, outputs=args.outputs, load=args.load)


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


def check_search(args: Namespace) -> None:
    from opensora.buckets.bucket_config import parse_bucket_config
    from opensora.plans.stage_plan import bucket_config_of
    from opensora.training.config import KNOWN_FIELDS
    from opensora.training.step_timer import require_parts

    config = load_config(args.config, args.overrides, known=KNOWN_FIELDS).to_dict()
    require_parts(config)
    rules = parse_bucket_config(bucket_config_of(config), ranges=True)
    known = [f"{rule.resolution}:{rule.num_frames}" for rule in rules]
    assert args.base_bucket in (None, *known), args.base_bucket


def check_buckets(args: Namespace) -> None:
    from opensora.buckets.bucket_config import parse_bucket_config
    from opensora.plans.balance import check_balance_mode
    from opensora.plans.bars import check_plot_path
    from opensora.plans.stage_plan import bucket_config_of
    from opensora.training.config import KNOWN_FIELDS

    check_plot_path(args.plot)
    config = load_config(args.config, args.overrides, known=KNOWN_FIELDS).to_dict()
    check_balance_mode(config.get("balance"))
    parse_bucket_config(bucket_config_of(config))


def check_plan(args: Namespace) -> None:
    from opensora.plans.forecast import gpu_peak

    if args.explain:
        check_workflow(args.config, {})
        return
    assert args.data_path, "a forecast needs --data-path"
    assert not args.target, "--target belongs to --explain"
    gpu_peak(args.gpu)
    check_buckets(args)


def check_encoder(args: Namespace, module: str, config: str) -> None:
    from opensora.encoders.trainer import read_fields

    fields = getattr(importlib.import_module(f"opensora.encoders.{module}"), config)
    read_fields(args.config, args.overrides, fields)


def check_convert(args: Namespace) -> None:
    from opensora.models.build import build_empty
    from opensora.models.device import DTYPES

    assert args.dtype in (None, *DTYPES)
    fields = dict(parse_overrides(args.overrides))
    assert args.type or not fields
    if args.type:
        build_empty(args.type, fields)


def check_bench(args: Namespace) -> None:
    if args.subject == "model":
        from opensora.bench.model import check_types

        fields = dict(
            parse_overrides(["--cfg-options", *args.cfg_options]) if args.cfg_options else []
        )
        check_types(args.type, fields)
    elif args.subject == "curation":
        assert bool(args.videos) != (args.long_video is not None), "VIDEOS or --long-video"


def check_ingest(args: Namespace) -> None:
    assert (args.shards_dir is None) == (args.num_shards is None), "--shards-dir, --num-shards"


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
    "assign-buckets": check_buckets,
    "plan": check_plan,
    "train-vae": lambda args: check_encoder(args, "train_vae", "VaeConfig"),
    "train-clip": lambda args: check_encoder(args, "train_clip", "ClipConfig"),
    "train-text-encoder": lambda args: check_encoder(
        args, "train_text_encoder", "TextEncoderConfig"
    ),
    "convert-checkpoint": check_convert,
    "bench": check_bench,
    "ingest-videos": check_ingest,
    "detect-scenes": check_scenes,
    "split-clips": check_clips,
    "score-clips": check_scores,
    "caption-clips": check_captions,
    "build-manifest": check_manifest,
}


# -------------------------------------------------------------------------------- other programs


def check_snakemake(words: Sequence[str], *, place: Path, made: Collection[str]) -> None:
    """Snakemake's parser, the workflow's schema, and the names of targets."""
    from snakemake.cli import get_argument_parser, parse_config

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args = get_argument_parser().parse_args(list(words))
    except SystemExit as stop:
        raise Refused(said.getvalue().strip()) from stop
    settings: dict[str, Any] = {}
    for name in args.profile or []:
        file = REPOSITORY / name / "config.v9+.yaml"
        if not file.is_file():
            raise Refused(f"{name}: no such profile")
        settings |= yaml.safe_load(file.read_text(encoding="utf-8"))
    runs = args.dryrun or args.cores or args.jobs or {"cores", "jobs"} & settings.keys()
    if not runs:
        raise Refused("Snakemake asks for --cores or a profile")
    given = args.configfile or [settings.get("configfile", "configs/workflow/demo.yaml")]
    overrides = parse_config(args.config) if isinstance(args.config, list) else args.config
    for name in [str(name) for name in given]:
        require_known(name, made)
    check_workflow([place / name for name in given], overrides or {})
    for target in [*args.targets, *(args.forcerun or [])]:
        if target not in rules():
            require_known(target, made)


def check_workflow(configs: Any, overrides: dict[str, Any]) -> None:
    """Check the values of a workflow config against its schema."""
    from snakemake.utils import update_config

    from opensora.core.errors import ConfigError
    from opensora.dag.settings import check_workflow_config

    config: dict[str, Any] = {}
    for path in configs if isinstance(configs, list) else [configs]:
        update_config(config, yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    update_config(config, overrides)
    for name in config.get("videos") or []:
        bring(Path.cwd(), name)
    try:
        check_workflow_config(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
    except ConfigError as error:
        raise Refused(str(error)) from error


def rules() -> set[str]:
    """Names of the rules."""
    files = [REPOSITORY / "Snakefile", *(REPOSITORY / "workflow/rules").glob("*.smk")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return set(re.findall(r"^ *rule (\w+):", text, re.M))


def check_make(words: Sequence[str]) -> None:
    """Targets, and variables that may be set."""
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", text, re.M))
    variables = set(re.findall(r"^([A-Z_]+) *[?:]?=", text, re.M))
    for word in words:
        name, is_variable, _ = word.partition("=")
        if name not in (variables if is_variable else targets):
            raise Refused(f"make has no {word!r}; targets: {', '.join(sorted(targets))}")


def check_pip(words: Sequence[str], *, made: Collection[str]) -> None:
    """Pip's parser, and the folders that are installed."""
    from pip._internal.commands import create_command

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options, _ = create_command(words[0]).parse_args(list(words[1:]))
    except SystemExit as stop:
        raise Refused(said.getvalue().strip()) from stop
    for folder in options.editables:
        require_known(folder, made)


def check_python(words: Sequence[str]) -> None:
    """A script of the repository, whose own `main` takes the words."""
    script = REPOSITORY / words[0]
    assert script == REPOSITORY / "tests/matrix.py", f"{words[0]}: no check for this script"
    specification = importlib.util.spec_from_file_location("matrix_shown", script)
    assert specification is not None
    assert specification.loader is not None
    matrix = importlib.util.module_from_spec(specification)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matrix_shown", matrix)
        specification.loader.exec_module(matrix)
        outcome = matrix.Outcome(1, 0, [], 0.0, 0)
        patch.setattr(matrix, "run_corner", lambda corner, options: outcome)
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                code = matrix.main(list(words[1:]))
        except SystemExit as stop:
            code = int(stop.code or 0)
    if code:
        raise Refused(said.getvalue().strip())
