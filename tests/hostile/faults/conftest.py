"""One undisturbed run for all tests of faults that compare with it."""

from pathlib import Path

import pytest

from .smallest import start


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run to its end, which tests copy and leave as it is."""
    folder = tmp_path_factory.mktemp("finished")
    assert start(folder, "all").wait(timeout=1800) == 0, (folder / "said.txt").read_text()
    return folder
