"""`opensora make-demo` writes a world and says so in one line."""

from pathlib import Path

import pytest

from opensora.cli.main import main

SMALL = ["--num-videos", "1", "--num-images", "1", "--scenes-per-video", "1"]


def test_one_summary_line_counts_what_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["make-demo", "--output", str(tmp_path / "world"), *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"make-demo: 1 films of 1 scenes, 1 stills and 6 troublesome files in {tmp_path}/world"
    ]
    assert (tmp_path / "world" / "prompts.txt").is_file()


def test_what_a_user_can_mend_is_one_line_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").touch()
    assert main(["make-demo", "--output", str(tmp_path), *SMALL]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "make-demo:" in line]
    assert "choose a new folder" in line
    assert (tmp_path / "mine.txt").exists()
