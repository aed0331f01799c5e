import json
from pathlib import Path
from typing import Any

import pytest

REFERENCE = Path(__file__).parents[2] / "data" / "reference"


@pytest.fixture(scope="session")
def reference() -> Any:
    """Read a JSON file of the reference's numbers by name."""

    def read(name: str) -> Any:
        return json.loads((REFERENCE / f"{name}.json").read_text())

    return read


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    return REFERENCE
