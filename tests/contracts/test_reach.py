"""Nothing is there that nobody can reach: modules, functions and registered names."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from opensora.config import registry
from opensora.config.registry import registered_names

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "opensora"
# what runs: the commands, the workflow, the plugin that Snakemake loads, the reference's import
ENTRIES = ("cli", "registry.py")
# called by a library, under a name that it chose
CALLED_BY_LIBRARIES = {
    "_get_help_string",  # argparse
    *("emit", "do_GET", "do_POST", "log_message"),
    *(f"handle_{what}" for what in ("starttag", "endtag", "data", "charref", "entityref")),
    # what ColossalAI's ZeRO optimizer asks of its mixed precision
    *("pre_backward", "pre_zero_grad", "get_grad_div_scale", "should_skip_step"),
}
# kept for open work: see the changelog
KEPT = {"encode_text"}
REGISTRIES = ("MODELS", "SCHEDULERS", "DATASETS", "SCORERS", "CAPTIONERS", "METRICS")


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> dict[Path, str]:
    """Python files of the package, and all else that calls into it."""
    files = [
        *PACKAGE.rglob("*.py"),
        *(REPOSITORY / "workflow").rglob("*.smk"),
        *(REPOSITORY / "workflow/plugins").glob("*/*.py"),
        *(PACKAGE / "report/page").iterdir(),
        REPOSITORY / "Snakefile",
    ]
    return {path: path.read_text(encoding="utf-8") for path in files if path.is_file()}


@cache
def imports() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports; a package stands for all that is in it."""
    modules = {module_name(path): path for path in sources() if path.suffix == ".py"}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(sources()[path])
        named = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                named |= {f"{node.module}.{alias.name}" for alias in node.names}
                named.add(str(node.module))
        found[name] = {target for target in named if target in modules}
    return found


def reached() -> set[str]:
    """Modules that an entry leads to; a registry leads to every module that registers a name."""
    waiting = [
        name
        for name in imports()
        if name.split(".")[1:2] and name.split(".")[1] in {e.removesuffix(".py") for e in ENTRIES}
    ]
    for path, text in sources().items():
        if path.suffix != ".py" or ".register_module(" in text or "register_model(" in text:
            waiting.append(module_name(path) if path.suffix == ".py" else "")
        if path.is_relative_to(REPOSITORY / "workflow") or path.name == "Snakefile":
            waiting += re.findall(r"(?:from|import) (opensora[\w.]*)", text)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in imports() and name not in seen:
            seen.add(name)
            waiting += imports()[name]
            waiting.append(name.rpartition(".")[0])
    return seen


@cache
def words() -> Counter[str]:
    """How often each name stands in code; comments and docstrings do not count."""
    found: Counter[str] = Counter()
    for path, text in sources().items():
        found.update(re.findall(r"[A-Za-z_]\w*", re.sub(r"#.*", "", text)))
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                    prose = ast.get_docstring(node, clean=False) or ""
                    found.subtract(re.findall(r"[A-Za-z_]\w*", re.sub(r"#.*", "", prose)))
    return found


def test_every_module_is_reached_from_a_command_or_the_workflow() -> None:
    ours = {name for name in imports() if name.startswith("opensora")}
    assert ours - reached() == set()


def test_every_function_class_and_constant_is_used() -> None:
    unused = []
    for path, text in sources().items():
        if path.suffix != ".py" or not path.is_relative_to(PACKAGE):
            continue
        tree = ast.parse(text)
        names = [
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not any("register" in ast.unparse(d) for d in node.decorator_list)
        ]
        for node in tree.body:
            if isinstance(node, ast.Assign):
                names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        unused += [
            f"{path.relative_to(REPOSITORY)}: {name}"
            for name in names
            if words()[name] < 2
            and not name.startswith("__")
            and name not in CALLED_BY_LIBRARIES | KEPT
        ]
    assert unused == []


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_registered_name_stands_where_a_user_finds_it(kind: str) -> None:
    """In a config, in the workflow's schema, or in the documentation as something to type."""
    places = [
        *(REPOSITORY / "configs").rglob("*.py"),
        REPOSITORY / "workflow/schemas/config.schema.yaml",
        *(REPOSITORY / "docs").glob("*.md"),
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in places)
    for name in registered_names(getattr(registry, kind)):
        assert re.search(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])", text), name
