"""Imports point downwards: a package may import only packages of lower floors."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "opensora"
FLOORS = {
    "core": set(),
    "config": {"core"},
    "tables": {"core"},
    "media": {"core"},
    "text": {"core"},
}
BELOW = {*FLOORS}
FLOORS |= {name: BELOW for name in ("models", "schedulers")}
BELOW = {*FLOORS}
FLOORS |= {name: BELOW for name in ("acceleration", "buckets")}
FLOORS["stores"] = BELOW | {"buckets"}
BELOW = {*FLOORS}
FLOORS |= {name: BELOW for name in ("plans", "curation", "demo")}
FLOORS["datasets"] = BELOW | {"plans"}
FLOORS["encoders"] = BELOW | {"curation"}
BELOW = {*FLOORS}
FLOORS |= {name: BELOW for name in ("precompute", "training", "sampling")}
BELOW = {*FLOORS}
FLOORS |= {name: BELOW for name in ("evaluation", "bench")}
FLOORS |= {name: {"core", "config", "tables", "media"} for name in ("report", "dag")}
FLOORS["cli"] = {*FLOORS}


def imported_names(path: Path) -> list[str]:
    """Dotted names of every import in a file, also of those inside functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert all(alias.name != "*" for alias in node.names), f"{path}: import *"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def source_files() -> list[Path]:
    return sorted(PACKAGE.glob("*/**/*.py"))


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_lower_floors(path: Path) -> None:
    floor = path.relative_to(PACKAGE).parts[0]
    for name in imported_names(path):
        top, _, rest = name.partition(".")
        if top == "opensora" and rest != "__version__":
            assert rest.split(".")[0] in FLOORS[floor] | {floor}, f"{path} imports {name}"
        assert not top.startswith("snakemake") or floor == "dag", f"{path} imports {name}"
        assert top != "colossalai" or floor == "acceleration", f"{path} imports {name}"
        assert top != "torch" or floor not in ("core", "dag"), f"{path} imports {name}"


def test_every_package_has_a_floor() -> None:
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(
        FLOORS
    )
