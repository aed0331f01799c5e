"""The benchmark of curation: its arithmetic by hand, its stages on a tiny video."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opensora.bench.curation import bench_curation, curation_summary, curation_table
from opensora.bench.curation_stages import makespan
from opensora.cli.main import EXIT_USER, main
from opensora.core.errors import OpenSoraError

MB = 1 << 20


@pytest.mark.parametrize(
    ("seconds", "workers", "expected"),
    [
        ([3.0, 1.0, 1.0, 1.0], 2, 3.0),  # 3 | 1 1 1
        ([1.0, 1.0, 1.0, 3.0], 2, 4.0),  # 1 1 | 1 3: in order, not sorted
        ([2.0, 2.0], 4, 2.0),
        ([1.0, 2.0, 3.0], 1, 6.0),
    ],
)
def test_tasks_go_to_the_first_free_worker(
    seconds: list[float], workers: int, expected: float
) -> None:
    assert makespan(seconds, workers) == expected


WATCH_A_GRANDCHILD = """
import os, subprocess, sys
from opensora.bench.measure import TreeWatch, measure_tree
before = measure_tree(os.getpid())[1]
with TreeWatch() as tree:
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
print(tree.peak_bytes - before, tree.cpu_seconds)
"""


def test_memory_and_time_of_a_grandchild_are_seen() -> None:
    """In a process of its own: the memory of the tests' process moves by itself."""
    work = (
        "import time; x = b'x' * (96 << 20)\nwhile time.process_time() < 0.6: pass\ntime.sleep(0.6)"
    )
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
    watch = [sys.executable, "-c", WATCH_A_GRANDCHILD, start]
    added, seconds = subprocess.run(watch, check=True, capture_output=True).stdout.split()
    assert 96 * MB < int(added) < 200 * MB
    assert 0.6 <= float(seconds) < 3


def figures(seconds: dict[str, float]) -> dict[str, Any]:
    stages = {
        name: {"seconds": s, "cpu_seconds": 2 * s, "start_s": 1.0, "peak_bytes": (k + 1) * 10**8}
        for k, (name, s) in enumerate(seconds.items())
    }
    counts = {"videos": 2, "scenes": 4, "clips": 6, "source_frames": 600, "clip_frames": 500}
    return {"machine": "m", "workers": 2, "counts": counts, "stages": stages}


def test_the_table_holds_throughput_and_totals() -> None:
    found = figures({"ingest": 1, "scenes": 2, "split": 5, "score": 2, "decode": 1, "encode": 4})
    found |= {"ratio": 2.0, "cpu_ratio": 1.5}
    rows = {line.split("  ")[0]: line.split() for line in curation_table(found).splitlines()}
    assert rows["ingest"][1:5] == ["1.00", "6.0", "600", "2.00"]
    assert rows["all stages"][2:6] == ["10.00", "0.6", "60", "20.00"]
    assert rows["all stages"][6:] == ["400", "MB", "4.0"]  # the largest, not the sum
    assert rows["both plain"][2] == "5.00"
    text = curation_summary(found)
    assert "2.00 times a plain decode and encode (goal 2.5), 1.50 times" in text
    assert "at most 600 MB" in text


@pytest.mark.slow
def test_all_stages_run_on_a_tiny_video(tiny_video: Path) -> None:
    found = bench_curation([str(tiny_video)], workers=1)
    assert found["counts"] == {
        **{"videos": 1, "scenes": 3, "clips": 3},
        **{"source_frames": 48, "clip_frames": 48},
    }
    names = ["ingest", "scenes", "split", "score", "decode", "encode"]
    assert list(found["stages"]) == names
    times = [found["stages"][name]["seconds"] for name in names]
    assert all(seconds > 0 for seconds in times)
    assert found["ratio"] == pytest.approx(sum(times[:4]) / sum(times[4:]))
    assert all(found["stages"][name]["peak_bytes"] > 50 * MB for name in names)


@pytest.mark.slow
def test_a_folder_without_a_good_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "not.mp4").write_text("a text")
    with pytest.raises(OpenSoraError, match="no clip came out"):
        bench_curation([str(tmp_path)], workers=1)


@pytest.mark.parametrize(
    "words", [[], ["videos", "--long-video", "10"], ["videos", "--workers", "0"]]
)
def test_contradictions_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "curation", *words]) == EXIT_USER
    assert capsys.readouterr().err.startswith("opensora bench")
