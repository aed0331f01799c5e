"""Words that a command does not know: the sentence names the option that was meant."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opensora.cli import train
from opensora.cli.main import main
from opensora.core.errors import OpenSoraError, PassingError

STAGE = str(Path(__file__).parents[3] / "configs/demo/train/stage1.py")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    try:
        code = main(list(words))
    except SystemExit as stop:  # of argparse
        code = int(stop.code or 0)
    assert code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--treads", "2"), "unknown option --treads; did you mean '--threads'?"),
        (("--outpts=x",), "unknown option --outpts; did you mean '--outputs'?"),
        (("--epoch", "2"), "unknown field 'epoch'; did you mean 'epochs'?"),
        (("--qqqq", "2"), "unknown field 'qqqq'; known: "),
    ],
)
def test_a_misspelt_option_is_told_from_a_misspelt_field(capsys, words, expected):
    assert expected in said(capsys, "train", STAGE, "--outputs", "o", *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sample", "--cfg-scal", "7"), "unknown option --cfg-scal; did you mean '--cfg-scale'?"),
        (("sample", "--cfg-scal=7"), "unknown option --cfg-scal; did you mean '--cfg-scale'?"),
        (("train", "--outpust", "x"), "unknown option --outpust; did you mean '--outputs'?"),
        (("plan", "--data-pth", "x"), "unknown option --data-pth; did you mean '--data-path'?"),
        (("sample", "--qqqq", "7"), "give a sampling config"),
        (("train", "--qqqq", "7"), "the following arguments are required: config"),
    ],
)
def test_the_value_of_a_misspelt_option_is_no_config(capsys, words, expected):
    message = said(capsys, *words)
    assert expected in message
    assert len(message.splitlines()) == 1


def test_a_misspelt_option_is_named_before_what_is_missing(capsys):
    message = said(capsys, "export", "--formt", "webdataset")
    assert "unrecognized arguments: --formt webdataset; did you mean '--format'?" in message
    message = said(capsys, "bench", "model", "--num-frame", "4")  # no option is shortened
    assert "opensora bench model: unrecognized arguments: --num-frame 4; did you mean" in message


def test_fields_may_stand_before_the_config(capsys):
    message = said(capsys, "train", "--epoch", "2", STAGE, "--outputs", "o")
    assert f"{STAGE}: unknown field 'epoch'; did you mean 'epochs'?" in message


def test_a_field_of_the_file_is_no_option(capsys, tmp_path):
    config = tmp_path / "stage.py"
    config.write_text("treads = 2\n")
    message = said(capsys, "train", str(config), "--outputs", "o")
    assert f"{config}: unknown field 'treads'" in message


def test_a_command_without_fields_names_the_nearest_option(capsys):
    message = said(capsys, "detect-scenes", "--videos", "v", "--output", "o.csv", "--treshold", "3")
    assert "unrecognized arguments: --treshold 3; did you mean '--threshold'?" in message


@pytest.mark.parametrize(("error", "code"), [(OpenSoraError, 2), (PassingError, 1)])
def test_only_what_a_user_can_mend_leaves_a_mark(monkeypatch, capsys, tmp_path, error, code):
    def fails(arguments: object) -> str:
        raise error("nodes did not meet")

    monkeypatch.setattr(train, "run", fails)
    log = tmp_path / "train.log"
    log.write_text("opensora train: nodes did not meet\n")
    words = ["train", STAGE, "--outputs", str(tmp_path / "out"), "--job-log", str(log)]
    assert main(words) == code
    assert "opensora train: nodes did not meet\n" in capsys.readouterr().err
    assert Path(f"{log}.mark").exists() == (code == 2)


def test_a_misspelt_command_names_the_nearest(capsys):
    assert main(["ingst-videos"]) == 2
    assert "no command 'ingst-videos'; did you mean 'ingest-videos'?; `" in capsys.readouterr().err


def test_a_message_names_its_command_once(capsys, tmp_path):
    words = ["score-clips", "--scorer", "match", "--clips", "none.csv", "--output", "o.csv"]
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("opensora score-clips: the scorer match needs")


def shell(line: str, *, unbuffered: str) -> "subprocess.CompletedProcess[str]":
    """A line for bash, with `opensora` as $o; it ends with the code of the command."""
    return subprocess.run(
        [
            "bash",
            "-c",
            f"o='{sys.executable} -m opensora.cli.main'; {line}; exit ${{PIPESTATUS[0]}}",
        ],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "line", ["$o --version | true", "$o --version >&-", "$o plan --help | true"]
)
def test_an_output_that_nobody_reads_is_no_defect(line: str, unbuffered: str) -> None:
    done = shell(line, unbuffered=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_on_a_full_disk_is_one_sentence(unbuffered: str) -> None:
    done = shell("$o --version > /dev/full", unbuffered=unbuffered)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "standard output: could not be written (No space left on device)" in done.stderr
