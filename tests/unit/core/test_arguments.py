"""Values of the command line, and that no command takes a number without bounds."""

import argparse
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opensora.cli.main import COMMANDS, main
from opensora.core.arguments import (
    Parser,
    UsageError,
    at_least,
    count,
    fraction,
    not_negative,
    number,
    port,
    positive,
    share,
    table_file,
    whole,
)


def a_parser() -> Parser:
    parser = Parser(prog="opensora x")
    parser.add_argument("config")
    parser.add_argument("--prompt", nargs="+")
    parser.add_argument("--finish", action="store_true")
    parser.add_argument("--save-dir")
    return parser


@pytest.mark.parametrize(
    ("line", "fields", "finish"),
    [
        ("a.py --lr 1e-4 --finish", "--lr 1e-4", True),
        ("--lr 1e-4 a.py --finish", "--lr 1e-4", True),
        ("--lr=-1 --finish a.py", "--lr=-1", True),
        ("--finish a.py --lr -1 2", "--lr -1 2", True),
        ("--prompt p q a.py --lr 3", "--lr 3", False),
        ("--save-dir d --size 4 4 a.py --lr 3", "--size 4 4 --lr 3", False),
        ("a.py --module b.py", "--module b.py", False),
    ],
)
def test_fields_are_parted_from_options(line: str, fields: str, finish: bool) -> None:
    known, rest = a_parser().read(line.split(), takes_fields=True)
    assert (known.config, " ".join(rest), known.finish) == ("a.py", fields, finish)
    assert known.prompt in (None, ["p", "q"])


@pytest.mark.parametrize("word", ["--save", "--save-di=3", "-s", "--Save-dir"])
def test_no_option_is_shortened(word: str) -> None:
    with pytest.raises(UsageError, match=f"unrecognized arguments: {word}"):
        a_parser().read(["a.py", word])


def test_a_value_may_begin_with_a_minus() -> None:
    known, _ = a_parser().read(["a.py", "--save-dir", "-1", "--prompt", "-a cat", "-.5"])
    assert (known.save_dir, known.prompt) == ("-1", ["-a cat", "-.5"])


WITHOUT_BOUNDS = {"--seed"}


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (count, ["1", "99"], ["0", "-1", "1.5", "x", "", "1e3"]),
        (whole, ["0", "7"], ["-1", "0.5", "nan"]),
        (at_least(2, 4), ["2", "4"], ["1", "5"]),
        (port, ["0", "65535"], ["-1", "65536"]),
        (number, ["-1.5", "0"], ["nan", "inf", "x"]),
        (positive, ["0.1", "1e9"], ["0", "-1", "inf", "nan", "-0.0"]),
        (not_negative, ["0", "2.5"], ["-0.1", "inf"]),
        (share, ["0", "0.5", "1"], ["-0.1", "1.01", "nan"]),
        (fraction, ["0", "0.99"], ["1", "-0.1"]),
    ],
)
def test_bounds(read: Callable[[str], float], good: list[str], bad: list[str]) -> None:
    assert [read(text) for text in good] == [float(text) for text in good]
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="expected a"):
            read(text)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.jsonl", "expected a table, .csv or .parquet, not"),
        ("a", "expected a table"),
        ("folder.csv", "is a folder; name a file in it"),
        ("file.txt/a.csv", "file.txt is a file and no folder"),
    ],
)
def test_a_table_that_can_not_be_written_is_refused_before_the_work(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        table_file(str(tmp_path / name))
    good = str(tmp_path / "new/{scorer}/A.CSV")
    assert table_file(good) == good
    assert not (tmp_path / "new").exists()


def test_a_folder_without_the_right_to_write_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(argparse.ArgumentTypeError, match="takes no files; change its rights"):
        table_file(str(tmp_path / "a.csv"))


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for name in COMMANDS:
        module = importlib.import_module(f"opensora.cli.{name.replace('-', '_')}")
        parser = argparse.ArgumentParser(prog=name)
        module.add_arguments(parser)
        yield name, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{name} {part}", inner) for part, inner in action.choices.items())


def test_no_number_of_a_command_is_without_bounds() -> None:
    loose = [
        f"{name} {action.option_strings[0]}"
        for name, parser in parsers()
        for action in parser._actions
        if action.type in (int, float) and not WITHOUT_BOUNDS.intersection(action.option_strings)
    ]
    assert loose == []


def test_every_option_has_help_and_tells_its_default() -> None:
    told = Parser(prog="x")
    for read, default in ((float, 2.0), (str, "keep"), (count, (256, 128))):
        told.add_argument(f"--{read.__name__}-{default}", default=default, help="what it is")
    told.add_argument("--said", default=3, help="seconds (default: 3)")
    told.add_argument("--flag", action="store_true", help="yes or no")
    lines = " ".join(told.format_help().split())
    assert "what it is (default: 2)" in lines
    assert "what it is (default: keep)" in lines
    assert "what it is (default: 256 128)" in lines
    assert lines.count("(default: 3)") == 1
    assert lines.endswith("yes or no")
    silent = [
        f"{name} {action.option_strings or action.dest}"
        for name, parser in parsers()
        for action in parser._actions
        if not action.help
    ]
    assert silent == []


def test_a_long_description_is_wrapped_and_an_example_is_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["init", "--help"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    with pytest.raises(SystemExit):
        main(["build-manifest", "--help"])
    assert "--funnel mine/funnel.json" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ("bench", "online", "--clips", "0"),
        ("detect-scenes", "--videos", "v", "--output", "o.csv", "--workers", "-1"),
        ("plan", "mine/x.py", "--gpus", "0"),
        ("train", "mine/x.py", "--outputs", "o", "--processes", "0"),
        ("export", "--manifest", "m", "--output", "o", "--shard-size", "0"),
        ("sample", "mine/x.py", "--num-frames", "0"),
        ("app", "mine/run", "--port", "70000"),
        ("sample", "mine/x.py", "--threads", "0"),
    ],
)
def test_a_number_out_of_bounds_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"argument {words[-2]}" in said
    assert f"not '{words[-1]}'" in said
