import re

import pytest

from opensora.report.footage import FunnelStage, Loss, flow


def stage(name, seconds_in, seconds_kept, *losses, rows_in=10, rows_kept=5):
    return FunnelStage(name, rows_in, seconds_in, rows_kept, seconds_kept, losses)


def test_the_band_is_as_high_as_the_footage():
    svg = flow([stage("ingest", 100, 50, Loss("corrupt", 5, 50.0)), stage("filter", 50, 25)])
    heights = [float(h) for h in re.findall(r'class="node ?\w*"[^>]* height="([\d.]+)"', svg)]
    assert heights[0] == pytest.approx(2 * heights[1]) == pytest.approx(4 * heights[2])


def test_images_alone_are_measured_in_rows():
    svg = flow([stage("ingest", 0.0, 0.0, Loss("corrupt", 5, 0.0))])
    heights = [float(h) for h in re.findall(r'class="node ?\w*"[^>]* height="([\d.]+)"', svg)]
    assert heights[0] == pytest.approx(2 * heights[1])
    assert "10 rows" in svg


def test_reasons_beyond_the_fourth_are_summed():
    losses = [Loss(f"reason_{k}", k, float(k)) for k in range(7, 0, -1)]
    svg = flow([stage("filter", 100, 72, *losses)])
    assert "reason 4" in svg
    assert "reason 3" not in svg
    assert "3 more" in svg
    assert "6.0 s · 6 rows" in svg  # 3 + 2 + 1


def test_names_are_escaped():
    assert "<script>" not in flow([stage("<script>", 2, 1, Loss("<script>", 1, 1.0))])
    assert flow([]) == ""
