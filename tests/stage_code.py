"""A hash of the code behind each number of `core/versions.py`: `make versions`.

Numbers are raised by hand, because only people know whether an edit changes results. The hashes,
in `core/versions.json`, make sure that somebody decides: they are of the syntax trees of all
modules of ours that a stage's command imports, directly or not, without what no result depends on:

- comments, docstrings and layout, texts of `--help`, log lines;
- what errors say (but for VideoError, whose reason becomes the `status` of a row);
- `LEFT_OUT`: how threads are set, what is printed, the classes of errors, and the numbers.

Models, schedulers, data sets, captioners and metrics are found by name in a config, so whoever
imports such a registry depends on all that it knows. A scorer has a number of its own: it is the
code of the scorer and of the command that runs it.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from opensora.config import registry
from opensora.core.versions import VERSIONS
from tests.package_map import PACKAGE, imported_names

PAGE = PACKAGE / "core/versions.json"
LEFT_OUT = {
    "opensora",  # its number, which the report shows
    *(f"opensora.core.{name}" for name in ("errors", "log", "process", "terminal", "versions")),
}
NAMES_ONLY = {"opensora.config.canonical"}  # knows which registries there are, and builds nothing
SCORER_FILES = {"phash": "perceptual_hash"}  # where the file has another name than the scorer
# what a stage shows besides code
DATA = {"report": ("report/page", "report/vendor")}
# registries -> packages that register in them; scorers are counted one by one
REGISTRIES = {
    name: getattr(registry, name)._locations
    for name in ("MODELS", "SCHEDULERS", "DATASETS", "CAPTIONERS", "METRICS")
} | {"PARTS": [place for one in registry.PARTS.values() for place in one._locations]}
_ERRORS = {
    *("OpenSoraError", "ConfigError", "TableError", "StoreError", "CheckpointError", "Stopped"),
    *("ValueError", "TypeError"),
}
_HELP_WORDS, _HELP_NAMES = {"help", "metavar"}, {"HELP", "EXAMPLE"}


class WithoutProse(ast.NodeTransformer):
    """Takes out of a syntax tree what is for people alone."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Docstrings, and calls of `log`."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return ast.Pass()
        call = node.value
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("log."):
            return ast.Pass()
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """What an error says."""
        if isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) in _ERRORS:
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Words of --help."""
        node.keywords = [word for word in node.keywords if word.arg not in _HELP_WORDS]
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """Texts of --help."""
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        return ast.Pass() if names & _HELP_NAMES else self.generic_visit(node)


def essence(source: str) -> str:
    """The syntax tree of a module as text, without prose; equal in all versions of Python."""
    return json.dumps(_plain(WithoutProse().visit(ast.parse(source))))


def _plain(node: Any) -> Any:
    if isinstance(node, ast.AST):
        fields = {name: _plain(value) for name, value in ast.iter_fields(node)}
        full = {name: value for name, value in fields.items() if value not in (None, [])}
        return [type(node).__name__, full]
    if isinstance(node, list):
        items = [_plain(item) for item in node]
        return [item for item in items if item != ["Pass", {}]]
    return node if node is None or isinstance(node, str | int | float) else repr(node)


@cache
def file_of(name: str) -> Path | None:
    """The file of a dotted name of ours; None where that is no module."""
    place = PACKAGE.parent / name.replace(".", "/")
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def direct_imports(module: str) -> frozenset[str]:
    """Modules of ours that a module imports, those behind a registry among them."""
    path = file_of(module)
    assert path is not None, module
    found = set()
    for name in imported_names(path):
        if not name.startswith("opensora."):
            continue
        owner, _, last = name.rpartition(".")
        if owner == registry.__name__ and last in REGISTRIES and module not in NAMES_ONLY:
            found.update(REGISTRIES[last])
        found.add(name if file_of(name) else owner)
    return frozenset(found - LEFT_OUT)


def modules_behind(entries: Iterable[str]) -> list[str]:
    """All modules that some modules import, they among them, sorted."""
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += direct_imports(module)
    return sorted(found)


def entries_of(stage: str) -> list[str]:
    """The modules that a stage begins with."""
    if file_of(f"opensora.cli.{stage}"):
        return [f"opensora.cli.{stage}"]
    scorer = SCORER_FILES.get(stage, stage)
    return ["opensora.cli.score_clips", f"opensora.curation.scores.{scorer}"]


@cache
def module_hash(module: str) -> str:
    """Hash of what a module does."""
    path = file_of(module)
    assert path is not None, module
    return hashlib.sha256(essence(path.read_text(encoding="utf-8")).encode()).hexdigest()


def code_hash(stage: str) -> str:
    """Hash of all code, and of other files, that a stage's results depend on."""
    digest = hashlib.sha256()
    for module in modules_behind(entries_of(stage)):
        digest.update(f"{module} {module_hash(module)}\n".encode())
    for folder in DATA.get(stage, ()):
        for path in sorted((PACKAGE / folder).iterdir()):
            if path.is_file():
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def current() -> dict[str, dict[str, Any]]:
    """Stage -> its number and the hash of its code, now."""
    return {
        stage: {"version": VERSIONS[stage], "code": code_hash(stage)} for stage in sorted(VERSIONS)
    }


def recorded() -> dict[str, dict[str, Any]]:
    """The same as it was when somebody last decided."""
    found: dict[str, dict[str, Any]] = json.loads(PAGE.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Write the hashes of now; say of which stages that is a statement."""
    before = recorded() if PAGE.is_file() else {}
    now = current()
    stated = [
        stage
        for stage in now
        if now[stage] != before.get(stage)
        and now[stage]["version"] == before.get(stage, {}).get("version")
    ]
    PAGE.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    words = f"equal results stated for: {', '.join(stated)}\n" if stated else ""
    sys.stdout.write(f"{words}versions: {len(now)} stages -> {PAGE}\n")


if __name__ == "__main__":
    main()
