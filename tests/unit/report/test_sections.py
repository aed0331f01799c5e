from pathlib import Path

import pandas as pd
import pytest

from opensora.core.io import read_json, write_json
from opensora.report.collect import collect, stage_order
from opensora.report.sections import ended_by_hand, lost_lines, tiles


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([10, 20, 30], ""),
        ([10, 17, 20, 30, 35], ""),  # stopped after steps 17 and 35
        ([30, 40, 50], "0 and 30"),
        ([10, 20, 50, 60, 70], "20 and 50"),
        ([5], ""),
        ([], ""),
    ],
)
def test_a_curve_without_its_head_or_with_a_hole_is_said(steps, said):
    found = lost_lines(pd.DataFrame({"step": steps}))
    assert found == (f"metrics.jsonl has lost lines between steps {said}" if said else "")


def test_where_a_stage_was_ended_by_hand_is_said():
    lines = [{"step": 10, "loss": 1.0}, {"step": 12, "ended_by_hand": "step 12 of 600"}]
    assert ended_by_hand(pd.DataFrame(lines)) == "ended by hand at step 12 of 600"
    assert ended_by_hand(pd.DataFrame(lines[:1])) == ""


def test_milestones_come_before_the_end_of_their_stage():
    names = ["stage10", "stage2", "stage2@100", "stage2@20"]
    assert sorted(names, key=stage_order) == ["stage2@20", "stage2@100", "stage2", "stage10"]


def test_what_people_corrected_and_a_server_took_is_a_figure(run_dir: Path) -> None:
    funnel = read_json(run_dir / "funnel.json")
    assert not {"Captions corrected", "Caption tokens"} & {t.label for t in tiles(collect(run_dir))}
    funnel["corrections"] = {"captions": 3, "out": 2, "unknown": ["gone"]}
    funnel["replies"] = {"prompt_tokens": 1000, "completion_tokens": 234, "cost": 0.5}
    write_json(run_dir / "funnel.json", funnel)
    found = {tile.label: (tile.value, tile.note) for tile in tiles(collect(run_dir))}
    assert found["Captions corrected"] == ("3", "2 clips marked out, 1 of clips that are not here")
    assert found["Caption tokens"] == (
        "1,234",
        "1,000 of requests, 234 of replies, at a cost of 0.50",
    )
