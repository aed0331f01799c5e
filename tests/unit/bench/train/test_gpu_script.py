"""`make gpu`, without one: Python is a stand-in that notes what it is asked for."""

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from opensora.cli import bench

SCRIPT = Path(__file__).parents[4] / "tests/gpu.sh"
LIMIT_S = 360

pytestmark = pytest.mark.skipif(shutil.which("timeout") is None, reason="needs timeout")


def run(tmp_path: Path, *, broken: str = "nothing"):
    """Run it; a call that has the word `broken` among its own fails."""
    program = tmp_path / "bin/python"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >>"{tmp_path}/asked"\n'
        f'case "$*" in *{broken}*) exit 3;; esac\necho "table of $4 $5"\n'
    )
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", SCRIPT, str(tmp_path / "out")], env=environment, capture_output=True, text=True
    )
    return done, (tmp_path / "asked").read_text().splitlines()


def test_all_parts_run_and_each_command_is_one(tmp_path):
    done, asked = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(asked) == 4
    benches = [line.partition("bench ")[2].split() for line in asked[1:]]
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    parsed = [parser.parse_args(words) for words in benches]
    assert [one.subject for one in parsed] == ["kernels", "train", "train"]
    cases = ",".join(one.cases for one in parsed[1:]).split(",")
    assert sorted(cases) == ["all", "all-512", "fb84f53", "reference", "reference-512", "zero2"]
    assert "== train_512: ok" in done.stdout
    assert "table of" in done.stdout
    for file in re.findall(r"tests/\S+\.py", asked[0]):
        assert "mark.gpu" in (SCRIPT.parents[1] / file).read_text()


def test_a_part_that_fails_is_named_and_the_others_run(tmp_path):
    done, asked = run(tmp_path, broken="kernels.json")
    assert done.returncode == 1
    assert len(asked) == 4
    assert done.stdout.endswith("failed: kernels\n")


def test_it_ends_in_six_minutes():
    limits = [int(number) for number in re.findall(r"^part \S+ (\d+)", SCRIPT.read_text(), re.M)]
    assert len(limits) == 4
    assert sum(limits) <= LIMIT_S
