"""`opensora train` started by torchrun on each of two nodes, as Kubernetes does it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opensora.acceleration.torchrun import torchrun_size
from opensora.cli.main import main
from opensora.core.errors import ConfigError
from opensora.plans.compile import BatchPlan
from tests.slurm.cluster import free_ports

CONFIG = """
bucket_config = {"24px": {4: (1.0, 2), 1: (1.0, 1)}}
epochs = 2
seed = 5
model = dict(type="STDiT2", patch_size=(1, 2, 2), hidden_size=24, depth=1, num_heads=2,
             qk_norm=True, pred_sigma=False)
scheduler = dict(type="rflow", sample_method="logit-normal")
optimizer = dict(type="adamw", lr=1e-3)
dtype = "fp32"
log_every = 1
"""


@pytest.fixture
def words(video_world: Path, tmp_path: Path) -> list[str]:
    """Options of a training from videos, whose plan nobody has compiled."""
    (tmp_path / "config.py").write_text(CONFIG)
    words = [str(tmp_path / "config.py"), "--data-path", f"{video_world}/manifest.csv"]
    words += ["--vae", f"{video_world}/vae", "--text-encoder", f"{video_world}/t5"]
    return [*words, "--text-encoder.model-max-length", "16", "--num-workers", "0"]


def torchrun(nodes: int, *words: str) -> list[tuple[int, str, str]]:
    """Start a launcher a node, each with one process; returns how each ended and what it said."""
    (port,) = free_ports(1)
    common = ["--nnodes", str(nodes), "--nproc-per-node", "1", "--master-addr", "127.0.0.1"]
    common += ["--master-port", str(port), "-m", "opensora.cli.main", "train", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launchers = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--node-rank", str(node), *common],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for node in range(nodes)
    ]
    said = [launcher.communicate(timeout=250) for launcher in launchers]
    return [(one.returncode, *text) for one, text in zip(launchers, said, strict=True)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_launchers_train_the_model_of_ours_to_the_byte(words, tmp_path, monkeypatch) -> None:
    first, second = torchrun(2, *words, "--outputs", f"{tmp_path}/torchrun")
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert first[1].startswith("train: ")
    assert first[1].count("\n") == 1  # rank 0 alone sums up
    assert second[1] == ""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    ours = [*words, "--outputs", f"{tmp_path}/ours", "--processes", "2"]
    assert main(["train", *ours]) == 0
    for name in ("model.safetensors", "ema.safetensors"):
        one, other = (tmp_path / run / name for run in ("torchrun", "ours"))
        assert one.read_bytes() == other.read_bytes()
    plan = BatchPlan(tmp_path / "torchrun/state/plan.parquet")
    assert plan.metadata["world_size"] == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_rank_0_can_not_prepare_ends_all_with_one_sentence(words, tmp_path) -> None:
    words = [*words, "--outputs", f"{tmp_path}/out", "--finish"]
    ended = torchrun(2, *words)
    assert all(code != 0 for code, _, _ in ended)
    said = "".join(text for _, _, text in ended)
    assert said.count("opensora train: --finish: ") == 1
    assert not (tmp_path / "out/STOP").exists()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch):
    """Puts variables of torchrun into the environment."""

    def set_variables(world: int, local: int, nodes: int) -> None:
        monkeypatch.delenv("OPENSORA_STARTED_BY", raising=False)
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
        names = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
        for name, value in zip(names, (world, local, nodes), strict=True):
            monkeypatch.setenv(name, str(value))

    return set_variables


def test_the_size_of_a_run_is_that_of_torchrun(started, monkeypatch) -> None:
    assert torchrun_size(2, 8) is None  # nobody has started this process
    started(16, 8, 2)
    assert torchrun_size(None, None) == torchrun_size(2, 8) == torchrun_size(None, 8) == (2, 8)
    monkeypatch.setenv("OPENSORA_STARTED_BY", "1")
    assert torchrun_size(2, 8) is None  # a worker of our own launcher


@pytest.mark.parametrize(
    ("nodes", "processes", "world", "message"),
    [
        (1, None, 16, "torchrun has started 2 nodes of 8 processes, and --nodes or"),
        (None, 4, 16, "torchrun has started 2 nodes of 8 processes, and --nodes or"),
        (None, None, 12, "12 processes on 2 nodes, 8 of them here; give --nproc-per-node the same"),
    ],
)
def test_another_size_is_refused(nodes, processes, world, message, started) -> None:
    started(world, 8, 2)
    with pytest.raises(ConfigError, match=message):
        torchrun_size(nodes, processes)
