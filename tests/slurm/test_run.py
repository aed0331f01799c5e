"""The smallest run, from videos to a model of two nodes, on a cluster without accounting.

Its training is cancelled once; test_faults.py has all else that goes wrong.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from opensora.config.load import read_saved_config
from tests.slurm.cluster import Cluster, Kind
from tests.slurm.faulty import WAIT_S, FaultyRun, smallest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(590)]


def losses(outputs: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (outputs / "metrics.jsonl").open()]


def threads(run: Path) -> int:
    """Threads that each worker of the cluster had."""
    saved = read_saved_config(run / "results/test/train/stage1/config.py")
    return int(saved["computed_with"]["threads"])


def test_a_run_from_videos_to_a_model_needs_no_accounting_and_outlasts_a_cancel(
    start: Callable[[Kind], Cluster], tmp_path: Path
) -> None:
    running = start(Kind())
    assert running.run("scontrol", "show", "config").stdout.count("accounting_storage/none") == 1
    run = tmp_path / "run"
    run.mkdir()
    config = smallest(nodes=2)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    begun = FaultyRun(running, run, step_s=1)
    with begun.begun("train_all", "--retries", "1") as snakemake:
        job = begun.wait_for_steps(2, seconds=WAIT_S)
        running.run("scancel", job)
        assert snakemake.wait(WAIT_S) == 0, begun.said[-6000:]
    assert (run / "results/test/train/stage1/model.safetensors").is_file()
    log = (run / "logs/train/test/stage1.log").read_text()
    assert log.count("=== opensora train on ") == 2
    assert f", SLURM job {job}," in log
    assert "stopped: after step " in log
    assert "resume step=" in log
    # two processes of one machine, with the threads of a node, make the same model to the byte
    stage = run / "results/test"
    train = [
        *(sys.executable, "-m", "opensora.cli.main", "train", config["stages"][0]["config"]),
        *(
            "--outputs",
            str(tmp_path / "local"),
            "--processes",
            "2",
            "--seed",
            str(config.get("seed", 42)),
        ),
        *("--threads", str(2 * threads(run)), "--dataset.plan"),
        str(stage / "buckets/stage1/settled.parquet"),
        *("--dataset.latents", str(stage / "latents/stage1")),
        *("--dataset.embeddings", str(stage / "embeddings")),
    ]
    done = subprocess.run(train, cwd=run, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("model", "ema"):
        local = (tmp_path / f"local/{name}.safetensors").read_bytes()
        assert local == (stage / f"train/stage1/{name}.safetensors").read_bytes()
    assert losses(tmp_path / "local") == losses(stage / "train/stage1")
