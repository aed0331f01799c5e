"""Every reason that code gives is in the one list, documented, and given somewhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from opensora.buckets import assignment
from opensora.plans import ledger
from opensora.tables.columns import NO_VIDEO, OK
from opensora.tables.reasons import BOUNDS, PLANNING, SELECTION, STATUSES

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "opensora"
WORD = re.compile(r"[a-z]+(_[a-z]+)*")
# where a reason is an argument: name of the call -> its place
PLACES = {
    **{"VideoError": 0, "WorkerFailure": 0, "NoCaption": 0, "_failure": 0, "Answer": 1},
    **{"failed_row": 1, "scene_row": 1, "clip_without_file": 1, "_mark": 2},
}
NAMES = {"status", "reason", "_UNREADABLE"}
TYPES = {"Reason"}  # of what a function returns: reason and detail
FOLDERS = ("core", "curation", "datasets", "media", "precompute", "text")


def modules() -> dict[str, ast.Module]:
    found = {}
    for folder in FOLDERS:
        for path in (PACKAGE / folder).rglob("*.py"):
            found[str(path.relative_to(PACKAGE))] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def constants(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Texts by the upper-case names that modules give them."""
    found: dict[str, set[str]] = {}
    for tree in trees.values():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                for target in node.targets:
                    if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                        found.setdefault(target.id, set()).add(node.value.value)
    return found


def words_in(node: ast.expr | None, named: dict[str, set[str]]) -> Iterator[str]:
    """Texts that an expression may be: itself, a name of one, either side of an `if`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name):
        yield from named.get(node.id, ())
    elif isinstance(node, ast.IfExp):
        yield from words_in(node.body, named)
        yield from words_in(node.orelse, named)


def given(tree: ast.Module, named: dict[str, set[str]]) -> Iterator[str]:
    """Texts at the places of a reason in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            if name in PLACES and len(node.args) > PLACES[name]:
                yield from words_in(node.args[PLACES[name]], named)
            for keyword in node.keywords:
                if keyword.arg in NAMES:
                    yield from words_in(keyword.value, named)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in NAMES:
                    yield from words_in(value, named)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                for name, value in pairs:
                    if isinstance(name, ast.Subscript):  # row["status"] = ...
                        name = name.slice
                    if getattr(name, "id", getattr(name, "value", None)) in NAMES:
                        yield from words_in(value, named)
        elif isinstance(node, ast.FunctionDef) and returns_a_reason(node):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Tuple):
                    yield from words_in(inner.value.elts[0], named)
                    yield from words_in(inner.value.elts[1], named)


def returns_a_reason(node: ast.FunctionDef) -> bool:
    if node.returns is None:
        return False
    names = {part.id for part in ast.walk(node.returns) if isinstance(part, ast.Name)}
    return bool(names & TYPES) or node.name == "_judge"


def all_given() -> dict[str, str]:
    """Reason -> a module that gives it."""
    trees = modules()
    named = constants(trees)
    return {
        word: name
        for name, tree in trees.items()
        for word in given(tree, named)
        if WORD.fullmatch(word) and word != OK
    }


def test_every_reason_that_code_gives_is_in_the_list() -> None:
    given_by = all_given()
    assert len(given_by) > 40
    assert {w: m for w, m in given_by.items() if w not in STATUSES | SELECTION} == {}


def test_no_reason_is_in_the_list_that_no_code_gives() -> None:
    said = {
        node.value
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
    }
    assert (STATUSES | SELECTION) - said - {NO_VIDEO} == set()


def test_reasons_of_plans_are_those_of_the_code() -> None:
    left_over = set(ledger.LEFT_OVER) - {ledger.BEYOND_NUM_STEPS}  # of the ledger alone
    assert {*assignment.REASONS, *left_over} - {""} == PLANNING


def test_every_reason_is_documented() -> None:
    curation = (REPOSITORY / "docs/curation.md").read_text(encoding="utf-8")
    buckets = (REPOSITORY / "docs/buckets.md").read_text(encoding="utf-8")
    assert [word for word in sorted(STATUSES | SELECTION) if f"`{word}`" not in curation] == []
    assert [word for word in sorted(PLANNING) if f"`{word}`" not in buckets] == []
    assert [end for end in BOUNDS if f"{end}`" not in curation] == []
