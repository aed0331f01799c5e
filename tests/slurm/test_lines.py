"""Every rule's real line is taken by clusters of three kinds, with the partitions they tell."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

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
        (folder / name).touch()
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


def test_a_second_cluster_is_refused(start: Callable[[Kind], Cluster], tmp_path: Path) -> None:
    start(Kind(nodes=1))
    second = cluster(tmp_path, Kind(nodes=1))
    with pytest.raises(RuntimeError, match="another test cluster runs on this machine"):
        second.__enter__()
