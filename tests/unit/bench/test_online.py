"""`opensora bench online` trains on images that it makes, in two checkouts; no clock is judged."""

import re
from pathlib import Path

import pytest

from opensora.cli.main import main

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
def test_both_checkouts_train_on_the_same_images(capsys) -> None:
    words = ["--clips", "4", "--batch-size", "2", "--width", "64", "--depth", "1"]
    assert main(["bench", "online", *words, "--against", str(REPOSITORY)]) == 0
    said = capsys.readouterr().out
    assert said.count(str(REPOSITORY)) == 2
    assert re.search(r"bench: [\d.]+ clips a second online, [\d.]+ times the other's: 4 ", said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--clips", "3"], "--batch-size 8 is more than --clips 3; give at least one batch"),
        (["--width", "100"], "--width is 100; expected a multiple of 64"),
        (["--against", "/nowhere"], "--against /nowhere: no checkout of opensora"),
    ],
)
def test_mistakes_are_sentences(words: list[str], message: str, capsys) -> None:
    assert main(["bench", "online", *words]) == 2
    assert message in capsys.readouterr().err
