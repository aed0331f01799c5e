"""The smallest run, from videos to a model of two nodes, on a cluster without accounting."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from opensora.config.load import read_saved_config
from tests.slurm.cluster import Cluster, Kind
from tests.workflow.sbatch_lines import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(590)]


def smallest() -> dict:
    """One shard and one stage of the test run; its VAE learns too little for the gate."""
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    for part in (*config["stages"], config["sample"], *config["models"].values()):
        part["config"] = str(REPOSITORY / part["config"])
    config |= {"num_shards": 1, "scorers": ["technical"], "stages": config["stages"][:1]}
    config["demo"] = {"num_videos": 5, "scenes_per_video": 2, "num_images": 4}
    config["encode"]["min_psnr"] = 0
    config["filters"] = {}
    config["stages"][0]["nodes"] = 2
    return config


def losses(outputs: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (outputs / "metrics.jsonl").open()]


def threads(run: Path) -> int:
    """Threads that each worker of the cluster had."""
    saved = read_saved_config(run / "results/test/train/stage1/config.py")
    return int(saved["computed_with"]["threads"])


def test_a_run_from_videos_to_a_model_needs_no_accounting(
    start: Callable[[Kind], Cluster], tmp_path: Path
) -> None:
    running = start(Kind())
    assert running.run("scontrol", "show", "config").stdout.count("accounting_storage/none") == 1
    run = tmp_path / "run"
    run.mkdir()
    config = smallest()
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    profile = REPOSITORY / "profiles/slurm"
    words = [
        *(sys.executable, "-m", "snakemake", "train_all"),
        *("--snakefile", str(REPOSITORY / "Snakefile"), "--profile", str(profile)),
        *("--configfile", "config.yaml", "--directory", str(run), "--latency-wait", "5"),
        *("--slurm-partition-config", str(profile / "partitions.yaml"), "--retries", "0"),
    ]
    environment = running.environment
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with open(tmp_path / "output", "wb") as output:
        done = subprocess.run(
            words, cwd=run, env=environment, stdout=output, stderr=output, timeout=560, check=False
        )
    said = (tmp_path / "output").read_text()
    assert done.returncode == 0, f"{shlex.join(words)}\n{said[-6000:]}"
    assert (run / "results/test/train/stage1/model.safetensors").is_file()
    assert "=== opensora train on " in (run / "logs/train/test/stage1.log").read_text()
    assert ", SLURM job " in (run / "logs/train/test/stage1.log").read_text()
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
