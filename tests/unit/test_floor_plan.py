"""Imports point downwards, and no room is too large or too small; see tests/package_map.py."""

import ast
from itertools import chain
from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.package_map import (
    END,
    PACKAGE,
    PAGE,
    START,
    allowed,
    imported_names,
    mermaid,
    package_imports,
    source_files,
)

# a stage of the pipeline, a family of models or schedulers, and these two
SMALL_ROOMS = {
    *(f"curation/{stage}" for stage in ("ingest", "scenes", "clips", "captions", "scores")),
    *("curation/manifest", "curation/export", "text"),
    *(f"models/{family}" for family in ("dit", "latte", "pixart", "stdit", "vae", "text_encoder")),
    *(f"schedulers/{family}" for family in ("iddpm", "dpms", "rf")),
}
LONGEST_FUNCTION = 60


def rooms() -> list[Path]:
    """Folders of the package that hold modules; `cli` has a module per command."""
    found = sorted({path.parent for path in source_files()})
    return [path for path in found if path.relative_to(PACKAGE).parts[0] != "cli"]


def own_modules(room: Path) -> list[Path]:
    return [path for path in room.glob("*.py") if path.name != "__init__.py"]


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_lower_floors(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0]
    for name in imported_names(path):
        top, _, rest = name.partition(".")
        if top == "opensora" and rest != "__version__":
            assert rest.split(".")[0] in allowed()[own] | {own}, f"{path} imports {name}"
        assert not top.startswith("snakemake") or own == "dag", f"{path} imports {name}"
        assert top != "colossalai" or own == "acceleration", f"{path} imports {name}"
        assert top != "gradio" or own == "app", f"{path} imports {name}"
        assert top != "torch" or own not in ("core", "dag", "report"), f"{path} imports {name}"


def test_every_package_has_a_floor() -> None:
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found == set(allowed())


def test_packages_import_in_no_circle() -> None:
    left = {name: set(targets) for name, targets in package_imports().items()}
    while free := {name for name, targets in left.items() if not targets}:
        left = {name: targets - free for name, targets in left.items() if name not in free}
    assert left == {}


@pytest.mark.parametrize("room", rooms(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_is_neither_too_large_nor_too_small(room: Path) -> None:
    modules = own_modules(room)
    assert sum(map(length, modules)) <= 3_000
    assert len(modules) <= 20
    inner = [path for path in room.iterdir() if (path / "__init__.py").exists()]
    if str(room.relative_to(PACKAGE)) not in SMALL_ROOMS:
        assert len(modules) + len(inner) >= 3


def test_modules_and_functions_are_short() -> None:
    lengths = sorted(filter(None, map(length, PACKAGE.rglob("*.py"))))
    assert median(lengths) <= 120
    assert quantiles(lengths, n=10)[-1] <= 250
    assert lengths[-1] <= 400
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py"))
    nodes = chain.from_iterable(map(ast.walk, trees))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {
        node.name: size
        for node in functions
        if (size := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert long == {}


def test_the_unit_tests_mirror_the_package() -> None:
    here = Path(__file__).parent
    folders = {path.parent.relative_to(here) for path in here.glob("*/**/test_*.py")}
    assert [str(path) for path in folders if not (PACKAGE / path).is_dir()] == []


def test_the_map_on_the_page_is_that_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.partition(START)[2].partition(END)[0] == mermaid(), "run `make map`"
