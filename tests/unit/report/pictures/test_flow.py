import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from opensora.report.footage.funnel import FunnelStage, Loss
from opensora.report.pictures.flow import flow

SVG = "{http://www.w3.org/2000/svg}"


def stage(name, seconds_in, seconds_kept, *losses, rows_in=10, rows_kept=5):
    return FunnelStage(name, rows_in, seconds_in, rows_kept, seconds_kept, losses)


def node_heights(svg):
    nodes = ElementTree.fromstring(svg).iterfind(f"{SVG}g[@class='node']/{SVG}path")
    outlines = [re.findall(r"[\d.]+", node.get("d")) for node in nodes]
    return [np.ptp([float(y) for y in numbers[1::2]]) for numbers in outlines]


def test_the_band_is_as_high_as_the_footage():
    svg = flow([stage("ingest", 100, 50, Loss("corrupt", 5, 50.0)), stage("filter", 50, 25)])
    heights = node_heights(svg)
    assert heights[0] == pytest.approx(2 * heights[1]) == pytest.approx(4 * heights[2])


def test_images_alone_are_measured_in_rows():
    svg = flow([stage("ingest", 0.0, 0.0, Loss("corrupt", 5, 0.0))])
    heights = node_heights(svg)
    assert heights[0] == pytest.approx(2 * heights[1])
    assert "10 rows" in svg


def test_reasons_beyond_the_fourth_are_summed():
    losses = [Loss(f"reason_{k}", k, float(k)) for k in range(7, 0, -1)]
    svg = flow([stage("filter", 100, 72, *losses)])
    assert "reason 4" in svg
    assert "reason 3" not in svg
    assert "3 more" in svg
    assert "6.0 s · 6 rows" in svg  # 3 + 2 + 1


def test_the_turned_band_never_runs_into_the_next_stage():
    svg = flow([stage(f"stage {k}", 100 - k, 1, Loss("dark", 5, 9.0)) for k in range(6)])
    columns = [float(x) for x in re.findall(r'<g class="node"><path d="M([\d.]+)', svg)]
    lost = re.findall(r'd="([^"]+)" style="fill: var\(--lost-soft\)', svg)
    assert len(lost) == len(columns) - 1 == 6
    for outline, following in zip(lost, columns[1:], strict=True):
        assert max(float(x) for x in re.findall(r"[\d.]+", outline)[::2]) < following


def test_names_are_escaped():
    assert "<script>" not in flow([stage("<script>", 2, 1, Loss("<script>", 1, 1.0))])
    assert flow([]) == ""
