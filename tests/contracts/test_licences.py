"""docs/licences.md has a line for whatever ships, and for whatever is asked for."""

import csv
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/licences.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROWS = {
    row[0]: row[1:] for row in re.findall(r"^\| ([\w-]+) \| ([^|]*) \|(?: ([^|]*) \|)?", PAGE, re.M)
}
FAMILY = re.compile(r"Apache|MPL|BSD|MIT|ISC|PSF|Python Software")


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", each)[0] for each in requirements}


DIRECT = names(PROJECT["dependencies"])
EXTRAS = {
    name: extra
    for extra, requirements in PROJECT["optional-dependencies"].items()
    for name in names(requirements)
}


def test_every_package_that_is_asked_for_has_a_line() -> None:
    assert DIRECT | set(EXTRAS) <= set(ROWS)
    assert {name: ROWS[name][0] for name in EXTRAS} == EXTRAS


def test_a_line_says_what_the_package_says() -> None:
    wrong = {}
    for name in sorted(DIRECT):
        facts = metadata.metadata(name)
        classes = [c for c in facts.get_all("Classifier") or () if c.startswith("License")]
        said = " ".join(
            [facts.get("License-Expression") or "", facts.get("License") or "", *classes]
        )
        here = set(FAMILY.findall(ROWS[name][0]))
        there = {word.replace("Python Software", "PSF") for word in FAMILY.findall(said)}
        if not here & there:
            wrong[name] = (ROWS[name][0], said[:200])
    assert wrong == {}


@pytest.mark.parametrize("folder", ["opensora/report/vendor", "tests/browser/vendor"])
def test_every_file_of_others_has_a_line_and_its_text(folder: str) -> None:
    with open(REPOSITORY / folder / "table.csv", newline="") as file:
        licences = {row["package"]: row["licence"] for row in csv.DictReader(file)}
    assert licences
    assert {name: ROWS[name][0] for name in licences} == licences
    assert set(licences) == {path.stem for path in (REPOSITORY / folder / "licences").glob("*.txt")}
