"""What curation kept, in one line."""

import json
from pathlib import Path

import pytest

from opensora.dag.display.curated import kept_line


def written(folder: Path, seconds_in: float, lost: int) -> list[str]:
    stages = [
        {"seconds_in": seconds_in, "reasons": {"corrupt": {"rows": lost, "seconds": 1.0}}},
        {"seconds_in": 5.0, "reasons": {}},
    ]
    kept = {"rows": 1200, "seconds": 150.0}
    (folder / "funnel.json").write_text(json.dumps({"kept": kept, "stages": stages}))
    return [str(folder / "index.json"), str(folder / "funnel.json"), str(folder / "rejected.csv")]


@pytest.mark.parametrize(
    ("seconds_in", "lost", "said"),
    [
        (7200.0, 0, "kept: 1,200 clips, 2 min 30 s of 2 h 00 min"),
        (0.0, 0, "kept: 1,200 clips"),
        (0.0, 2, "kept: 1,200 clips; 2 rows left out, each with its reason: {}/rejected.csv"),
    ],
)
def test_clips_seconds_and_where_reasons_stand(
    tmp_path: Path, seconds_in: float, lost: int, said: str
) -> None:
    assert kept_line(written(tmp_path, seconds_in, lost)) == said.format(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kept": {}, "stages": []}'])
def test_a_funnel_that_tells_nothing_is_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "funnel.json").write_text(text)
    assert kept_line([str(tmp_path / "funnel.json")]) == ""
    assert kept_line([]) == ""
