"""A job that no node can take, or that names what is not there, is one sentence."""

from pathlib import Path

import pytest

from opensora.dag.cluster.fit import Asked, check_account, misfit, partition_of
from opensora.dag.cluster.slurm import Nodes, Partition, Slurm

CPU = Partition("cpu", 2880, "OFF", True, True, (Nodes(4, 32, 128_000, 0),))
GPU = Partition(
    "gpu", 1440, "OFF", False, True, (Nodes(2, 64, 500_000, 8), Nodes(9, 16, 999_000, 1))
)
CLUSTER = Slurm({"cpu": CPU, "gpu": GPU}, {})
FILE = "partitions: {cpu: {}, gpu: {max_gpu: 16}}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "partitions.yaml"
    path.write_text(FILE)
    return path


def asked(**more) -> Asked:
    usual = {"rule": "sample", "stage": "", "mem_mb": 4000, "runtime": 60, "threads": 8}
    return Asked(**usual | more)


def test_a_job_goes_where_the_plugin_sends_it(file: Path) -> None:
    assert partition_of(asked(), CLUSTER, file) == "cpu"
    assert partition_of(asked(gpus=1), CLUSTER, file) == "gpu"
    assert partition_of(asked(partition="mine"), CLUSTER, file) == "mine"
    assert partition_of(asked(), CLUSTER, None) == "cpu"


def test_what_fits_has_no_sentence(file: Path) -> None:
    for one in (asked(), asked(gpus=8, nodes=2, mem_mb=500_000), asked(gpus=1, mem_mb=999_000)):
        assert misfit(one, CLUSTER, file) == ""


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            {"mem_mb": 200_000},
            "200 GB on a node and partition cpu has 128 GB at most; set",
        ),
        ({"threads": 64}, "64 CPUs on a node and partition cpu has 32 CPUs at most; set"),
        ({"gpus": 16}, "16 GPUs on a node and partition gpu has 8 GPUs at most"),
        (
            {"gpus": 8, "mem_mb": 900_000},
            "900 GB on a node and partition gpu has 500 GB at most on nodes with the GPUs",
        ),
        (
            {"nodes": 3, "gpus": 4},
            "3 nodes and partition gpu has 2 that are large enough; set",
        ),
        (
            {"runtime": 3000},
            "asks for 3000 minutes and partition cpu allows 2880, so the job",
        ),
        ({"partition": "gpus"}, "'gpus' does not exist; did you mean 'gpu'.; mend slurm_"),
        ({"partition": "x"}, "partition 'x' does not exist; there are cpu, gpu; mend slurm_part"),
    ],
)
def test_what_no_node_has_is_one_sentence(more: dict, sentence: str, file: Path) -> None:
    one = asked(rule="train", stage="one", mpi="srun" if more.get("nodes") else None, **more)
    why = misfit(one, CLUSTER, file)
    assert why.startswith("train one: ")
    assert sentence.replace("'.;", "'?;") in why


def test_a_partition_file_that_names_none_of_them(tmp_path: Path) -> None:
    path = tmp_path / "partitions.yaml"
    path.write_text("partitions: {batch: {}}")
    why = misfit(asked(), CLUSTER, path)
    assert f"partition 'batch' does not exist; there are cpu, gpu; mend {path}" in why


def test_where_nothing_is_seen_nothing_is_said(file: Path) -> None:
    assert misfit(asked(mem_mb=10**9), Slurm({}, {}), file) == ""


def test_accounts() -> None:
    free, bound = CLUSTER, Slurm({}, {"AccountingStorageEnforce": "associations,limits"})
    known = (["lab", "other"], "")
    assert check_account("", free, lambda: pytest.fail("not asked for")) == ""
    assert check_account("LAB", bound, lambda: known) == ""
    assert check_account("", bound, lambda: (["lab"], "lab")) == ""
    assert "'labs' is none of yours, which are lab, other" in check_account(
        "labs", bound, lambda: known
    )
    why = check_account("", bound, lambda: known)
    assert "refuses jobs without an account" in why
    assert "write slurm_account: one of lab, other into block 1" in why
