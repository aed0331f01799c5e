"""Every command that the documentation shows is one that its program takes."""

import ast
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contracts.command_checks import check_line
from tests.contracts.shown_paths import REPOSITORY, Refused

PREFIX = r"(?:[A-Z_]+=\S+ )*"
PROGRAMS = rf"{PREFIX}(?:opensora|snakemake|make|python|pip)\s"
FENCED = re.compile(rf"(?:{PROGRAMS}|cp ).+")
INLINE = re.compile(rf"(?<!`)`({PROGRAMS}[^`]+)`(?!`)")
# a line of a comment or docstring that is a command, not prose; text may follow in a column
COLUMN = re.compile(r"(opensora [a-z-]+ \S.*?|snakemake -.*?|make [a-z]+)(?: {2,}.*|$)")
# what stands for any command, and is none
PLACEHOLDER = re.compile(r"opensora (COMMAND|NAME|bench SUBJECT)\b|python \*")


@dataclass(frozen=True)
class Shown:
    """A command and where it stands; `whole` where it is meant to be pasted as it is."""

    file: str
    row: int
    line: str
    whole: bool


def joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; one that ends with a backslash goes on in the next."""
    start, parts = 1, []
    for row, line in enumerate(text.splitlines(), 1):
        if not parts:
            start = row
        if line.endswith("\\"):
            parts.append(line[:-1].strip())
            continue
        yield start, " ".join([*parts, line.strip()])
        parts = []


def without_comment(line: str) -> str:
    return re.sub(r"\s+#(?=\s).*", "", line)


def in_markdown(file: str, text: str) -> Iterator[Shown]:
    """Commands in fenced blocks, and in backticks; not those of a column `you had`."""
    rows = text.splitlines()
    is_fence = [row.strip().startswith("```") for row in rows]
    inside = [count % 2 == 1 for count in itertools.accumulate(is_fence)]
    prose = ["" if fence else row for row, fence in zip(rows, inside, strict=True)]
    if "you had |" in text:
        prose = [re.sub(r"^\| .*? \| (?=.* \| .*\|$)", "", row) for row in prose]
    yield from inline(file, "\n".join(prose))
    blocks = [row if fence else "" for row, fence in zip(rows, inside, strict=True)]
    for row, line in joined("\n".join(blocks)):
        if FENCED.fullmatch(line):
            yield Shown(file, row, without_comment(line), whole=True)


def inline(file: str, text: str, first: int = 1) -> Iterator[Shown]:
    """Commands in backticks, which may run on to the next line but not over an empty one."""
    for found in INLINE.finditer(text):
        if "\n\n" not in found[1] and not PLACEHOLDER.match(found[1]):
            row = first + text.count("\n", 0, found.start())
            yield Shown(file, row, " ".join(found[1].split()), whole=False)


def in_comment(file: str, text: str, first: int = 1) -> Iterator[Shown]:
    """Commands in backticks, and lines that are one."""
    yield from inline(file, text, first)
    for row, line in joined(text):
        found = COLUMN.fullmatch(line)
        if found and not PLACEHOLDER.match(found[1]):
            yield Shown(file, first + row - 1, found[1], whole=True)


def in_package(file: str, text: str) -> Iterator[Shown]:
    """Commands in every string of a module: docstrings, help, messages and examples."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from in_comment(file, node.value, node.lineno)


def comments(text: str) -> str:
    """The text with all that is no comment of a line of its own emptied."""
    rows = [row.strip() for row in text.splitlines()]
    return "\n".join(row[1:].strip() if row.startswith("#") else "" for row in rows)


def shown() -> list[Shown]:
    """Every command, in the order of files and lines."""
    found: list[Shown] = []
    for pattern, read in SOURCES.items():
        for path in sorted(REPOSITORY.glob(pattern)):
            name, text = str(path.relative_to(REPOSITORY)), path.read_text(encoding="utf-8")
            found += read(name, text)
    return found


SOURCES = {
    "*.md": in_markdown,
    "docs/*.md": in_markdown,
    "opensora/**/*.py": in_package,
    "configs/**/*.py": lambda name, text: in_comment(name, text.replace('"""', "")),
    "Snakefile": lambda name, text: in_comment(name, text.split('"""')[1]),
    "configs/**/*.yaml": lambda name, text: in_comment(name, comments(text)),
    "profiles/**/*.yaml": lambda name, text: in_comment(name, comments(text)),
    "Makefile": lambda name, text: in_comment(name, comments(text)),
}


def named(commands: list[Shown]) -> list:
    """Cases called by file and line; a second command of a line is `#2`."""
    count: Counter[str] = Counter()
    cases = []
    for command in commands:
        name = f"{command.file}:{command.row}"
        count[name] += 1
        suffix = f"#{count[name]}" if count[name] > 1 else ""
        cases.append(pytest.param(command, id=name + suffix))
    return cases


SHOWN = shown()


@pytest.mark.parametrize("command", named(SHOWN))
def test_a_shown_command_is_taken(command: Shown, place: Path, made: list[str]) -> None:
    check_line(command.line, place=place, made=made, whole=command.whole)


def test_every_kind_of_place_shows_commands() -> None:
    files = {command.file for command in SHOWN}
    assert {"README.md", "Makefile", "Snakefile", "configs/workflow/mine.yaml"} <= files
    assert {"docs/configs.md", "docs/quickstart.md", "opensora/cli/train.py"} <= files
    programs = {re.sub(PREFIX, "", command.line).split()[0] for command in SHOWN}
    assert programs == {"opensora", "snakemake", "make", "python", "pip", "cp"}


SAMPLE = "opensora sample configs/demo/inference/sample.py --ckpt-path mine/w.pth"
FAULTS = {
    f"{SAMPLE} --promt-path mine/prompts.txt": "did you mean '--prompt-path'",
    f"{SAMPLE} --scheduler.num_steps 4": "unknown field 'num_steps'",
    f"{SAMPLE} --num-frames many": "expected a whole number of at least 1, not 'many'",
    f"{SAMPLE} --prompt-path assets/texts/none.txt": "assets/texts/none.txt: not in the repository",
    f"{SAMPLE} --vae results/demo/models/vea": "results/test/models/vea: not in the repository",
    "opensora sample configs/demo/sample.py --prompt x": "configs/demo/sample.py: not in the",
    "opensora train configs/demo/train/online.py --lerning-rate 1": "unknown field 'lerning_rate'",
    "opensora train configs/demo/train/online.py --num-workers -1": "expected 0 or more",
    "opensora train-vae configs/demo/vae.py --clips mine/c.csv --output mine/v --num-stepz 3": (
        "unknown field 'num_stepz'"
    ),
    "opensora doctor --latent mine/latents": "unrecognized arguments: --latent",
    "opensora encode-videos --vae mine/vae": "arguments are required: --items",
    "opensora split-clip --min-s 1": "no command 'split-clip'",
    "opensora bench modle": "invalid choice: 'modle'",
    "snakemake --profile profiles/local train_al": "train_al: not in the repository",
    "snakemake --profile profiles/cloud all": "profiles/cloud: no such profile",
    "snakemake --profile profiles/local --config num_shard=2": "did you mean 'num_shards'",
    "snakemake --profile profiles/local --forcrun train": "unrecognized arguments",
    "snakemake all --configfile configs/workflow/demo.yaml": "--cores or a profile",
    "make dmo": "make has no 'dmo'",
    "pip install --editible .": "no such option",
    "python tests/matrix.py limited-3": "no corner limited-3",
    "cp configs/workflow/your.yaml mine/pets.yaml": "configs/workflow/your.yaml: not in",
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_faulty_command_is_refused(line: str, place: Path, made: list[str]) -> None:
    with pytest.raises(Refused, match=re.escape(FAULTS[line])):
        check_line(line, place=place, made=made)


def test_a_mention_may_leave_out_what_is_required_but_names_nothing_wrong(
    place: Path, made: list[str]
) -> None:
    check_line("opensora export --format webdataset", place=place, made=made, whole=False)
    with pytest.raises(Refused, match="invalid choice: 'zip'"):
        check_line("opensora export --format zip", place=place, made=made, whole=False)


def test_commands_are_found_where_they_stand() -> None:
    page = "\n".join(
        [
            "Say `A=1 opensora plan`, or `make",
            "demo`, not `make`.",
            "```bash",
            "$ nothing",
            "opensora train X \\",
            "    --lr 1   # a comment",
            "```",
        ]
    )
    assert list(in_markdown("page.md", page)) == [
        Shown("page.md", 1, "A=1 opensora plan", whole=False),
        Shown("page.md", 1, "make demo", whole=False),
        Shown("page.md", 5, "opensora train X --lr 1", whole=True),
    ]
    comment = "make demo   set it up\nmake it so\n  snakemake --cores 1      for all"
    assert [found.line for found in in_comment("Makefile", comment)] == [
        "make demo",
        "snakemake --cores 1",
    ]
