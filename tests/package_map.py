"""The floor plan of the package, and a picture of who imports whom: `make map`.

Reads the imports with `ast` and writes a Mermaid graph into docs/architecture.md.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "opensora"
PAGE = REPOSITORY / "docs/architecture.md"
START, END = "<!-- map: made by `make map` -->\n", "<!-- end of map -->\n"

# from the ground up: packages of a floor, and what they may import besides the floors below
FLOORS: tuple[dict[str, set[str]], ...] = (
    {"core": set()},
    {"config": set(), "tables": set(), "media": set(), "text": set()},
    {"models": set(), "schedulers": set()},
    {"acceleration": set(), "buckets": set(), "stores": {"buckets"}},
    {
        **{"plans": set(), "curation": set(), "demo": set()},
        **{"datasets": {"plans"}, "encoders": {"curation"}},
    },
    {"precompute": set(), "training": set(), "sampling": set()},
    {"evaluation": set(), "bench": set(), "app": set()},
    {"report": set(), "dag": set()},
    {"cli": set()},
)
# these need neither a model nor torch, however high they stand
LIGHT = {"report", "dag"}
LIGHT_MAY_IMPORT = {"core", "config", "tables", "media"}


def allowed() -> dict[str, set[str]]:
    """Package -> packages that it may import."""
    found: dict[str, set[str]] = {}
    for floor in FLOORS:
        below = set(found)
        for name, beside in floor.items():
            found[name] = LIGHT_MAY_IMPORT if name in LIGHT else below | beside
    return found


def source_files() -> list[Path]:
    """Modules of all packages."""
    return sorted(PACKAGE.glob("*/**/*.py"))


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names of every import in a file, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or any(alias.name == "*" for alias in node.names):
                raise ValueError(f"{path}: relative import, or import *")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def package_imports() -> dict[str, frozenset[str]]:
    """Package -> packages that its modules import."""
    found: dict[str, set[str]] = {name: set() for name in allowed()}
    for path in source_files():
        own = path.relative_to(PACKAGE).parts[0]
        for name in imported_names(path):
            top, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if top == "opensora" and target in found and target != own:
                found[own].add(target)
    return {name: frozenset(targets) for name, targets in found.items()}


def on_the_way(name: str) -> set[str]:
    """Packages that a package reaches through the ones it imports."""
    reached: set[str] = set()
    waiting = [target for first in package_imports()[name] for target in package_imports()[first]]
    while waiting:
        target = waiting.pop()
        if target not in reached:
            reached.add(target)
            waiting += package_imports()[target]
    return reached


def mermaid() -> str:
    """The graph: a box per floor, and an arrow for each import that no longer way implies."""
    lines = ["```mermaid", "graph TD"]
    for number, floor in reversed(list(enumerate(FLOORS))):
        lines.append(f'  subgraph floor{number}["floor {number}"]')
        for name in floor:
            modules = [p for p in (PACKAGE / name).rglob("*.py") if p.name != "__init__.py"]
            lines.append(f'    {name}["{name}<br/>{len(modules)} modules"]')
        lines.append("  end")
    for floor in reversed(FLOORS):
        for name in floor:
            direct = package_imports()[name] - on_the_way(name)
            lines += [f"  {name} --> {target}" for target in sorted(direct)]
    # invisible links keep each floor below the one above it
    for above, below in zip(reversed(FLOORS), list(reversed(FLOORS))[1:], strict=False):
        lines.append(f"  {' & '.join(above)} ~~~ {' & '.join(below)}")
    return "\n".join([*lines, "```", ""])


def main() -> None:
    """Put the graph in its place on the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(before + START + mermaid() + END + after, encoding="utf-8")
    arrows = sum(map(len, package_imports().values()))
    sys.stdout.write(f"map: {len(package_imports())} packages, {arrows} imports -> {PAGE}\n")


if __name__ == "__main__":
    main()
