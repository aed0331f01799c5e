"""Names with Snakemake's marks are no inputs; their time and size stand in for that."""

import os
from pathlib import Path

from opensora.dag.identity import identity
from opensora.dag.names import as_given, plain_names, stamps


def test_only_plain_names_are_inputs() -> None:
    names = ["a b.csv", "{shard}", "a/<x>/b", "[c]*.mp4", "$x", "ü{", "y"]
    assert plain_names(names) == ["a b.csv", "[c]*.mp4", "$x", "y"]


def test_a_value_reaches_its_command_as_it_stands() -> None:
    value = ["--keep-if", "kind == '{a}'"]
    assert as_given(value)({"a": "b"}) is value


def test_an_identity_changes_with_a_file_that_is_no_input_and_else_stays(tmp_path: Path) -> None:
    plain, marked = tmp_path / "a.csv", tmp_path / "{a}.csv"
    for path in (plain, marked):
        path.write_text("x")
    assert stamps([str(plain)]) == {}
    assert stamps([str(tmp_path / "{none}")]) == {}
    found = []
    for text, time in (("x", 1), ("x", 2), ("xy", 2), ("xy", 2)):
        marked.write_text(text)
        os.utime(marked, ns=(time, time))
        found.append(identity(version=1, **stamps([str(plain), str(marked)]))({}))
    assert len(set(found)) == 3
    assert found[2] == found[3]
