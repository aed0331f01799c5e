import os
import subprocess
import sys

import pytest

from opensora.cli.main import COMMANDS, main
from opensora.core.errors import ConfigError
from opensora.core.process import available_cores, default_threads, threads_in_use, use_threads


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        monkeypatch.setenv(f"{name}_NUM_THREADS", os.environ.get(f"{name}_NUM_THREADS", ""))
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        before = torch.get_num_threads()
        yield
        torch.set_num_threads(before)
    else:
        yield


@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("4,2", 4), ("", available_cores())])
def test_without_an_option_the_environment_or_the_cores_decide(monkeypatch, given, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert default_threads() == expected


@pytest.mark.parametrize("given", ["many", "0", "-1"])
def test_a_variable_that_is_no_number_is_named(monkeypatch, given):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    with pytest.raises(ConfigError, match="OMP_NUM_THREADS is"):
        default_threads()


def test_a_loaded_torch_and_later_processes_follow():
    import torch

    use_threads(1)
    assert torch.get_num_threads() == threads_in_use() == 1
    code = "import torch; print(torch.get_num_threads())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "1"


def test_waiting_threads_sleep_unless_the_user_chose(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY")
    use_threads(1)
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    use_threads(1)
    assert os.environ["OMP_WAIT_POLICY"] == "active"


def test_no_thread_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        use_threads(0)


@pytest.mark.parametrize("command", ["train", "train-vae", "sample", "encode-videos", "evaluate"])
def test_a_command_that_computes_says_that_it_takes_threads(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "--threads N" in capsys.readouterr().out


def test_a_wrong_number_is_one_sentence(tmp_path, capsys):
    words = ["train-vae", "x.py", "--clips", "c.csv", "--output", str(tmp_path / "vae")]
    assert main([*words, "--threads", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "opensora train-vae: argument --threads: expected a whole number of at least 1, not '0'"
    )
    assert said.count("\n") == 1


def test_no_command_loads_torch_before_its_threads_are_set():
    code = (
        "import importlib, sys\n"
        f"for name in {list(COMMANDS)}:\n"
        "    importlib.import_module('opensora.cli.' + name.replace('-', '_'))\n"
        "print('torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "False", printed.stderr
