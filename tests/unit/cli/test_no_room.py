"""An error of writing is one sentence and an exit code, whatever library raised it."""

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from opensora.cli import main as command_line
from opensora.core.errors import OpenSoraError
from opensora.core.guard import Guard
from opensora.core.io import atomic_path, in_the_way, is_of_writing, not_written
from opensora.core.log import setup_logging

TENSORS = {"a": torch.zeros(100_000)}


@contextmanager
def small_files() -> Iterator[None]:
    """Files of this process end at 10,000 bytes, as on a disk that is full.

    Around the write alone: the limit holds for the file that pytest reports to as well.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def write_torch(path: Path) -> None:
    torch.save(TENSORS, path)


def write_safetensors(path: Path) -> None:
    save_file(TENSORS, path)


def write_bytes(path: Path) -> None:
    path.write_bytes(bytes(20_000))


@pytest.mark.parametrize("write", [write_torch, write_safetensors, write_bytes])
def test_every_writer_has_the_same_sentence(tmp_path: Path, write: Callable[[Path], None]) -> None:
    def whole(path: Path) -> None:
        with atomic_path(path) as temporary:
            write(temporary)

    with (
        pytest.raises(OpenSoraError, match=r"weights\.bin: could not be written \(.*free the"),
        small_files(),
    ):
        whole(tmp_path / "weights.bin")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "out.json"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "out.json"),
        OSError(errno.EROFS, "Read-only file system", "out.json"),
        PermissionError(errno.EACCES, "Permission denied", "out.json"),
    ],
)
def test_a_command_ends_with_one_sentence(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: object) -> str:
        raise error

    stage = SimpleNamespace(HELP="", EXAMPLE="", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(command_line.importlib, "import_module", lambda name: stage)
    assert command_line.main(["report"]) == command_line.EXIT_USER
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("opensora report: out.json: ")
    assert str(error.strerror) in said
    assert "run the same command again" in said


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: object) -> str:
        raise KeyError("a defect")

    stage = SimpleNamespace(HELP="", EXAMPLE="", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(command_line.importlib, "import_module", lambda name: stage)
    with pytest.raises(KeyError):
        command_line.main(["report"])


def test_the_log_file_keeps_what_the_screen_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "stage.log"
    setup_logging(log)
    with Guard("stage") as guard:
        guard.call(TENSORS.__getitem__, "none")
    setup_logging()
    assert "Traceback" in log.read_text()
    assert "Traceback" not in capsys.readouterr().err


def test_other_faults_are_none_of_writing() -> None:
    assert not is_of_writing(ValueError("no number"))
    assert not is_of_writing(OSError(errno.EIO, "Input/output error"))


def test_a_file_where_a_folder_is_needed_is_said(tmp_path: Path) -> None:
    taken = tmp_path / "results"
    taken.write_text("notes of mine")
    for make in (taken.mkdir, (taken / "state").mkdir):
        with pytest.raises(OSError, match="results") as error:
            make()
        assert in_the_way(error.value) == taken
        assert f"{taken}: is a file and a folder is needed there" in str(not_written(error.value))
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError) as error:  # a defect of a caller, who did not look
        (tmp_path / "folder").mkdir()
    assert in_the_way(error.value) is None
    assert taken.read_text() == "notes of mine"


def test_a_folder_of_results_that_is_a_file_ends_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("")
    words = ["make-demo", "--output", str(tmp_path / "out/demo"), "--num-videos", "1"]
    assert command_line.main(words) == command_line.EXIT_USER
    assert f"{tmp_path / 'out'}: is a file" in capsys.readouterr().err
