import pandas as pd
import pytest

from opensora.report.collect import stage_order
from opensora.report.sections import ended_by_hand, lost_lines


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
