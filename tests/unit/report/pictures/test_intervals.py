import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from opensora.report.collect import collect
from opensora.report.pictures.draw import write_pictures
from opensora.report.pictures.intervals import intervals

SVG = "{http://www.w3.org/2000/svg}"


def cell(value, low, high):
    return {"value": value, "low": low, "high": high, "n": 8}


def drawn_spans(svg):
    """From where to where each interval is drawn."""
    lines = ElementTree.fromstring(svg).iterfind(f"{SVG}g[@class='interval']/{SVG}path")
    found = [list(map(float, re.findall(r"-?[\d.]+", line.get("d")))) for line in lines]
    return [(numbers[0], numbers[2]) for numbers in found]


def test_each_number_stands_on_the_scale_of_its_row():
    rows = [
        {"part": "", "scale": (0.0, 1.0), "cells": [cell(0.5, 0.25, 0.75), None]},
        {"part": "all", "scale": (0.0, 100.0), "cells": [cell(50, 25, 75), cell(10, None, None)]},
    ]
    svg = intervals(rows, ["stage1", "stage2"], label="two metrics")
    one, two = drawn_spans(svg)
    assert one == pytest.approx(two)
    left, right = 450, 830  # of the scale
    assert one == pytest.approx((left + 95, right - 95))
    for words in ("stage1 all", "stage2 all", "0.500 (0.250 to 0.750)", "10, no interval"):
        assert words in svg


def test_a_floor_is_a_mark_and_scores_are_words():
    level = {"floor": 1.0, "floor_n": 300}
    rows = [
        {"part": "", "scale": (0.0, 2.0), "cells": [cell(1.5, 1.2, 1.8) | level]},
        {"part": "", "scale": (0.0, 100.0), "cells": [cell(50.0, 40.0, 60.0) | {"score": 0.5}]},
    ]
    svg = intervals(rows, ["stage1"], label="two metrics")
    (mark,) = ElementTree.fromstring(svg).iterfind(f"{SVG}g[@class='floor']/{SVG}path")
    numbers = list(map(float, re.findall(r"-?[\d.]+", mark.get("d"))))
    assert numbers[0] == numbers[2] == pytest.approx(640)  # the middle of the scale
    assert "1.50 (1.20 to 1.80), floor 1 (n 300)" in svg
    assert "50 (40 to 60), VBench's score 0.500" in svg


def test_every_metric_of_a_run_is_a_file(run_dir: Path, tmp_path: Path):
    write_pictures(collect(run_dir, None), tmp_path / "pictures")
    found = [path.stem for path in (tmp_path / "pictures/Evaluation").iterdir()]
    assert found == ["prompt_following"]
