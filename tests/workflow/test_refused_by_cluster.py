"""What a cluster would not take is one sentence, before anything is submitted."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forked
from tests.fake_slurm import NODES, SETTINGS, WITH_ACCOUNTS, answering

REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
STAGE = {"name": "one", "config": "configs/demo/train/stage1.py"}
GPUS_OF_4 = NODES.replace("a100:8", "a100:4").replace("1-00:00:00", "9-00:00:00")


def run(
    folder: Path, changes: dict[str, Any], answers: dict[str, str], *words: str
) -> tuple[int, str, list[str]]:
    """Run the workflow as on a cluster; returns exit code, all that it says, lines of sbatch."""
    config = {"run": "x", "demo": {"num_videos": 1}, "num_shards": 1, "stages": [STAGE], **changes}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    tools = answering(folder / "tools", {"sinfo": NODES, "scontrol": SETTINGS, **answers})
    lines = folder / "sbatch.lines"
    (tools / "sbatch").write_text(f'#!/bin/sh\necho "$@" >> {lines}\nexit 1\n')
    (tools / "sbatch").chmod(0o700)
    profile = REPOSITORY / "profiles/slurm"
    done = forked.run(
        *("snakemake", "train_all"),
        *("--snakefile", str(REPOSITORY / "Snakefile"), "--profile", str(profile)),
        *("--configfile", str(folder / "config.yaml"), "--directory", str(folder)),
        *("--slurm-partition-config", str(profile / "partitions.yaml"), "--retries", "0"),
        *words,
        env={"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        timeout=150,
    )
    submitted = lines.read_text().splitlines() if lines.exists() else []
    return done.returncode, done.stdout + done.stderr, submitted


@pytest.mark.parametrize(
    ("changes", "answers", "words", "sentence"),
    [
        ({"num_shard": 2}, {}, [], "unknown field 'num_shard'; did you mean 'num_shards'"),
        ({"stages": [STAGE, STAGE]}, {}, [], "stages: names must differ, got one, one"),
        (
            {"stages": [{**STAGE, "gpus": 8}]},
            {"sinfo": GPUS_OF_4},
            [],
            "SLURM: train one: asks for 8 GPUs on a node and partition gpu has 4 GPUs at most",
        ),
        (
            {"resources": {"make_demo": {"mem": "9TB"}}},
            {},
            [],
            "SLURM: make_demo: asks for 9000 GB on a node and partition cpu has 128 GB at most",
        ),
        (
            {"resources": {"make_demo": {"runtime": "9d"}}},
            {},
            [],
            "SLURM: make_demo: asks for 12960 minutes and partition cpu allows 2880",
        ),
        (
            {},
            {"scontrol": WITH_ACCOUNTS, "sacctmgr associations": "lab\n"},
            [],
            "SLURM: this cluster refuses jobs without an account and you have no default; write"
            " slurm_account: one of lab into block 1",
        ),
        (
            {},
            {"scontrol": WITH_ACCOUNTS, "sacctmgr": "lab\n"},
            ["--default-resources", "slurm_account=lob"],
            "SLURM: account 'lob' is none of yours, which are lab",
        ),
        (
            {},
            {},
            ["--default-resources", "slurm_partition=gpus"],
            "partition 'gpus' does not exist; did you mean 'gpu'?",
        ),
    ],
)
def test_it_is_said_before_anything_is_submitted(
    changes: dict[str, Any],
    answers: dict[str, str],
    words: list[str],
    sentence: str,
    tmp_path: Path,
) -> None:
    code, said, submitted = run(tmp_path, changes, answers, *words)
    assert code != 0
    assert submitted == []
    (line,) = [line for line in said.splitlines() if sentence in line]
    assert len(line) < 400
    assert "Traceback" not in said


@pytest.mark.parametrize("lifted", [False, True])
def test_what_fits_is_submitted(lifted: bool, tmp_path: Path) -> None:
    changes = {"resources": {"make_demo": {"runtime": "9d"}}} if lifted else {}
    words = ["--slurm-qos", "long"] if lifted else []
    _, said, submitted = run(
        tmp_path, changes, {"sacctmgr name=long": "PartitionTimeLimit|30-00:00:00"}, *words
    )
    assert len(submitted) == 1, said
    assert "-p cpu" in submitted[0]
    assert ("--qos=long" in submitted[0]) == lifted
