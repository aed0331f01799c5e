"""The walks of docs/architecture.md: every function is where the page says, in few files."""

import importlib
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
WALKS = {"One clip through the code": 14, "One caption through the code": 8}


def steps(title: str) -> list[tuple[str, str]]:
    """(function, file) of a walk, in order."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"`(\w+)` in `(opensora/[\w/]+\.py)`", section)


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_names_functions_that_exist_and_run(title: str) -> None:
    walk = steps(title)
    assert len({file for _, file in walk}) <= WALKS[title]
    assert walk[-1] == ("train_step", "opensora/training/step.py")
    sources = {
        path: path.read_text(encoding="utf-8") for path in (REPOSITORY / "opensora").rglob("*.py")
    }
    for name, file in walk:
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        found = getattr(module, name)
        assert found.__module__ == module.__name__, f"{name} is defined elsewhere"
        others = (text for path, text in sources.items() if path != REPOSITORY / file)
        called = any(re.search(rf"\b{name}\(", text) for text in others)
        assert called or "register_module" in sources[REPOSITORY / file], f"nobody calls {name}"


@pytest.mark.parametrize("title", WALKS)
def test_every_step_of_a_walk_names_its_function(title: str) -> None:
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    numbered = re.findall(r"^(\d+)\. (.*)$", section, re.MULTILINE)
    assert [int(number) for number, _ in numbered] == list(range(1, len(numbered) + 1))
    assert all(re.search(r"`\w+` in `opensora/", line) for _, line in numbered)
