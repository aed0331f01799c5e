"""What a run cost, stage by stage, by the GPUs that its config asks for."""

import pytest
import yaml

from opensora.core.io import write_text
from opensora.report.collect import collect
from opensora.report.media import Media
from opensora.report.overview import overview

HOUR = 3600
CONFIG = {
    "stages": [
        {"name": "stage1", "nodes": 2, "gpus": 8},
        {"name": "stage2", "nodes": 1, "gpus": 8},
    ],
    "resources": {"threads": 4, "sample": {"gpus": 1}},
    "sample": {"num_jobs": 3},
}


def overview_of(run_dir, records, config=CONFIG):
    """The overview of a run with benchmark files: path -> (seconds, cpu_time)."""
    folder = run_dir.parent.parent / "benchmarks"
    for path, (seconds, cpu_time) in records.items():
        lines = f"s\th:m:s\tmax_rss\tcpu_time\n{seconds}\t0:00:01\t100\t{cpu_time}\n"
        write_text(folder / f"{path}.tsv", lines)
    write_text(run_dir / "config.yaml", yaml.safe_dump(config))
    return overview(collect(run_dir, folder), Media(run_dir / "none", "media"))


def hours(data):
    rows = {(row["rule"], row["stage"]): (row["gpu_hours"], row["cpu_hours"]) for row in data}
    assert len(rows) == len(data)
    return rows


def test_each_stage_costs_its_gpus_for_as_long_as_its_jobs_ran(run_dir):
    data = overview_of(
        run_dir,
        {
            "train/tiny/stage1@100": (HOUR, HOUR),
            "train/tiny/stage1": (HOUR / 2, HOUR),
            "train/tiny/stage2": (HOUR, HOUR),
            "certify_resume/tiny/stage1": (HOUR / 8, HOUR),
            "sample_part/tiny/stage1.1": (HOUR, HOUR),
            "sample_part/tiny/stage1.2": (HOUR, HOUR),
            "sample/tiny/stage1": (HOUR, HOUR / 4),  # joins them
            "evaluate/tiny/stage1": (HOUR, "NA"),  # not measured; four threads
            "score_clips/tiny/0000": (HOUR, 2 * HOUR),
            "score_clips/tiny/0001": (HOUR, "-"),  # of one thread
        },
    )
    assert hours(data["times"]) == {
        ("score_clips", ""): (None, pytest.approx(3)),
        ("train", "stage1"): (pytest.approx(1.5 * 16), None),
        ("train", "stage2"): (pytest.approx(8), None),
        ("certify_resume", "stage1"): (pytest.approx(1), None),  # on one node
        ("sample_part", "stage1"): (pytest.approx(2), None),
        ("sample", "stage1"): (None, pytest.approx(0.25)),
        ("evaluate", "stage1"): (None, pytest.approx(4)),
    }
    order = [row["rule"] for row in data["times"]]
    assert order == [
        *("score_clips", "train", "train", "certify_resume", "sample_part", "sample", "evaluate")
    ]
    tile = {"label": "GPU hours", "value": "35", "note": "and 7.25 CPU hours without one"}
    assert tile in data["tiles"]


def test_a_run_without_gpus_costs_cpu_hours(run_dir):
    records = {"train/tiny/stage1": (HOUR, 2 * HOUR), "sample/tiny/stage1": (HOUR, HOUR)}
    data = overview_of(run_dir, records, {"stages": [{"name": "stage1", "gpus": 0}]})
    rows = {("train", "stage1"): (None, 2.0), ("sample", "stage1"): (None, 1.0)}
    assert hours(data["times"]) == rows
    assert {"label": "CPU hours", "value": "3", "note": ""} in data["tiles"]


def test_without_benchmarks_nothing_is_said_of_cost(run_dir):
    data = overview(collect(run_dir), Media(run_dir / "none", "media"))
    assert data["times"] == []
    assert not {"GPU hours", "CPU hours"} & {tile["label"] for tile in data["tiles"]}
