"""The corners of `make matrix`: what each sets, which two are whole, what is skipped."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("matrix", Path(__file__).parents[1] / "matrix.py")
assert _SPEC is not None
assert _SPEC.loader is not None
matrix = importlib.util.module_from_spec(_SPEC)
sys.modules["matrix"] = matrix  # dataclasses look their module up
_SPEC.loader.exec_module(matrix)


def test_the_whole_corners_are_two_and_differ_in_everything() -> None:
    assert len({corner.name for corner in matrix.CORNERS}) == 8
    one, other = (corner for corner in matrix.CORNERS if corner.is_whole)
    assert (one.name, other.name) == ("limited-1-imageio", "full-2-system")


def test_a_corner_sets_its_variables_and_takes_those_of_others_away(monkeypatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    limited = matrix.Corner(limited=True, threads=1, system_ffmpeg=True).environment(Path("links"))
    full = matrix.Corner(limited=False, threads=2, system_ffmpeg=True).environment(Path("links"))
    assert (limited["ONEDNN_MAX_CPU_ISA"], limited["ATEN_CPU_CAPABILITY"]) == ("AVX2", "avx2")
    assert not matrix.LIMITED.keys() & full.keys()
    assert (limited["OMP_NUM_THREADS"], full["OMP_NUM_THREADS"]) == ("1", "2")
    assert limited["PATH"] == full["PATH"] == os.environ["PATH"]


def test_imageios_ffmpeg_hides_the_systems(tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    corner = matrix.Corner(limited=False, threads=1, system_ffmpeg=False)
    code = "from opensora.media.encode import ffmpeg_executable; print(ffmpeg_executable())"
    command, environment = [sys.executable, "-c", code], corner.environment(tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "ffmpeg")


def test_a_corner_that_the_machine_has_not_is_a_sentence(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(matrix, "has_avx512", lambda: False)
    told = {corner.name: corner.obstacle() for corner in matrix.CORNERS}
    assert told["limited-1-imageio"] is None
    assert told["limited-2-system"] == "there is no ffmpeg on PATH"
    assert told["full-1-imageio"] == "without AVX-512 full instructions are the limited ones"


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (
            """<testsuites><testsuite time="90"><testcase classname="a" name="b" />
            <testcase classname="a" name="c"><failure /></testcase>
            <testcase classname="a" name="d"><skipped /></testcase></testsuite></testsuites>""",
            "1 passed, 1 skipped, **1 failed**",
        ),
        (None, "0 passed, 0 skipped, **pytest ended with 4**"),
    ],
)
def test_the_result_is_counted_from_pytests_report(
    tmp_path: Path, report: str | None, words: str
) -> None:
    if report is not None:
        (tmp_path / "report.xml").write_text(report)
    outcome = matrix.read_report(tmp_path / "report.xml", 4)
    assert str(outcome) == words
    assert outcome.failed == (["a::c"] if report else [])


def test_an_unknown_corner_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        matrix.main(["full-3-system"])
    assert "no corner full-3-system; known: limited-1-imageio" in capsys.readouterr().err
