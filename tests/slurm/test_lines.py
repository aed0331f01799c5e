"""Every rule's real line is taken by clusters of three kinds, with the partitions they tell."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from opensora.dag.cluster.doctor import examine_slurm, submit_probe
from opensora.dag.cluster.fit import Asked, misfit
from opensora.dag.cluster.plan import Profile, read_run
from opensora.dag.cluster.slurm import Nodes, look
from opensora.dag.resources import RULES
from tests.slurm.cluster import Cluster, Kind, cluster
from tests.workflow.sbatch_lines import REPOSITORY, submitted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
KINDS = {
    "CPUs alone": Kind(nodes=2, cpus=8, mem_mb=64_000),
    "one node of 8 GPUs": Kind(nodes=1, cpus=64, mem_mb=500_000, gpus=8),
    "8 nodes of 8 GPUs": Kind(nodes=8, cpus=64, mem_mb=500_000, gpus=8),
}


def production(folder: Path, kind: Kind) -> Path:
    """The shipped config, on all that a cluster has."""
    config = yaml.safe_load((REPOSITORY / "configs/workflow/default.yaml").read_text())
    (folder / "mine/videos").mkdir(parents=True)
    for name in (config["sample"]["prompts"], *config["captions"]["sidecar"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a wave\n")
    config["stages"][0] |= {"nodes": kind.nodes, "gpus": kind.gpus}
    if not kind.gpus:
        config["resources"] = {"threads": 8}
        # a small model: the memory of one node is 64 GB
        config["stages"][0]["config"] = "configs/demo/train/own_videos.py"
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_takes_every_line(
    kind: str, start: Callable[[Kind], Cluster], tmp_path: Path
) -> None:
    running = start(KINDS[kind])
    partitions = tmp_path / "partitions.yaml"
    tool = Path(sys.executable).with_name("generate-slurm-partition-config")
    made = running.run(str(tool), "-o", str(partitions))
    assert made.returncode == 0, made.stderr
    run = tmp_path / "run"
    run.mkdir()
    lines = submitted(
        run, production(run, KINDS[kind]), "all", "--slurm-partition-config", str(partitions)
    )
    assert set(lines) >= {"ingest_videos", "encode_videos", "train", "sample", "report"}
    for rule, words in lines.items():
        end = next(k for k, word in enumerate(words) if word.startswith("--wrap="))
        # in the test's own folder, and with a command that is not our matter here
        done = running.run("sbatch", "--test-only", *words[:end], "--wrap=true")
        assert done.returncode == 0, f"{rule}: {shlex.join(words[:end])}\n{done.stderr}"
        assert int(words[words.index("-t") + 1]) <= max(RULES[rule].runtime, 1440)


@pytest.mark.parametrize("kind", KINDS)
def test_doctor_sees_what_sbatch_sees(
    kind: str,
    start: Callable[[Kind], Cluster],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running, has = start(KINDS[kind]), KINDS[kind]
    monkeypatch.setenv("PATH", running.environment["PATH"])
    monkeypatch.chdir(tmp_path)
    for name in ("configs", "workflow"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    profile = Profile(
        tmp_path / "config.yaml",
        {"slurm-partition-config": "partitions.yaml", "slurm-no-requeue": True}
        | {"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 10},
        {},
    )
    tool = Path(sys.executable).with_name("generate-slurm-partition-config")
    assert running.run(str(tool), "-o", "partitions.yaml").returncode == 0
    seen = look()
    assert seen.partitions.keys() == has.partitions().keys()
    assert seen.default == "cpu"
    for name, limit in {"cpu": 2880, "gpu": 1440}.items():
        if part := seen.partitions.get(name):
            assert part.nodes == (Nodes(has.nodes, has.cpus, has.mem_mb, has.gpus),)
            assert (part.runtime, part.preempt_mode, part.is_up) == (limit, "OFF", True)
    config = read_run(production(tmp_path, has))
    lines = examine_slurm(config, profile, seen)
    assert [line for line in lines if line.mark != "ok"] == []
    # what it calls too much, sbatch refuses; what it takes, sbatch takes
    good = Asked("train", "stage1", has.mem_mb, 1440, has.cpus, nodes=has.nodes, gpus=has.gpus)
    for more in ({}, {"mem_mb": has.mem_mb + 1}, {"threads": has.cpus + 1}, {"nodes": 9}):
        asked = replace(good, partition="gpu" if has.gpus else "cpu", **more)
        words = [f"--mem={asked.mem_mb}", f"--cpus-per-task={asked.threads}"]
        words += [f"--nodes={asked.nodes}", f"--ntasks={asked.nodes}", "-p", asked.partition]
        words += [f"--gpus-per-node={asked.gpus}"] if asked.gpus else []
        done = running.run("sbatch", "--test-only", *words, "-t", "1440", "--wrap=true")
        assert bool(misfit(asked, seen, None)) == bool(done.returncode), (more, done.stderr)


def test_doctor_lets_a_job_look_around(
    start: Callable[[Kind], Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start(Kind(nodes=1))
    monkeypatch.setenv("PATH", running.environment["PATH"])
    monkeypatch.chdir(tmp_path)
    for name in ("configs", "workflow"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    profile = Profile(tmp_path / "config.yaml", {}, {})
    config = read_run(production(tmp_path, Kind()))
    (line,) = submit_probe(config, profile, look())
    assert line.mark == "ok", line
    assert "sees this folder and the environment, 0 GPUs" in line.text


def test_a_second_cluster_is_refused(start: Callable[[Kind], Cluster], tmp_path: Path) -> None:
    start(Kind(nodes=1))
    second = cluster(tmp_path, Kind(nodes=1))
    with pytest.raises(RuntimeError, match="another test cluster runs on this machine"):
        second.__enter__()
