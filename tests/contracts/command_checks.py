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
import sys
from argparse import Namespace
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from opensora.cli.main import COMMANDS, main
from opensora.config.load import load_config, parse_overrides
from tests.contracts.config_checks import CHECKS, check_workflow, fields_of, kind_of
from tests.contracts.shown_paths import REPOSITORY, Refused, bring, paths_in, require_known

STAND_INS = {"sample": "configs/opensora-v1-1/inference/sample.py"}
STAND_IN = "configs/opensora-v1-1/train/stage1.py"
# options and config fields whose values are paths, whatever they look like
PATH_NAMES = frozenset(
    [
        *("benchmarks", "captions", "ckpt_path", "clip", "clips"),
        *("config", "data_card", "data_path", "embeddings", "from_pretrained"),
        *("funnel", "input", "inputs", "json", "latents", "load", "manifest", "measured", "output"),
        *("outputs", "plan", "plot", "prompt_path", "reference_path", "rejected", "root"),
        *("roots", "propose_buckets", "table"),
        *(
            "run_dir",
            "samples",
            "save_dir",
            "scenes",
            "scores",
            "shards_dir",
            "sidecar",
            "store",
            "summary",
        ),
        *("text_encoder", "truth", "vae", "videos"),
    ]
)
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_ELISIONS = ("...", "…")


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


def rules() -> set[str]:
    """Names of the rules."""
    files = [REPOSITORY / "Snakefile", *(REPOSITORY / "workflow/rules").glob("*.smk")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return set(re.findall(r"^ *rule (\w+):", text, re.M))


def check_make(words: Sequence[str]) -> None:
    """Targets, and variables that may be set."""
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, re.M))
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
