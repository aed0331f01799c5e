"""Limits of partitions, as the SLURM plugin reads them."""

from math import inf
from pathlib import Path

import pytest
import yaml

from opensora.core.errors import ConfigError
from opensora.dag.cluster.partitions import Limits, partition_limits


def written(folder: Path, partitions: object) -> Path:
    path = folder / "partitions.yaml"
    path.write_text(yaml.safe_dump({"partitions": partitions}))
    return path


def test_a_class_has_the_largest_limit_of_its_partitions(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {
            "short": {"max_runtime": "04:00:00", "max_mem_mb": 90_000},
            "long": {"max_runtime": "2-00:00:00", "max_mem_mb": 40_000},
            "gpu": {"max_runtime": "1-00:00:00", "max_gpu": 16},
        },
    )
    assert partition_limits(path, gpu=False) == Limits(90_000, 2880)
    assert partition_limits(path, gpu=True) == Limits(inf, 1440)


def test_jobs_without_gpus_go_to_gpu_nodes_where_there_are_no_others(tmp_path: Path) -> None:
    path = written(tmp_path, {"gpu": {"max_runtime": 60, "max_gpu": 8}})
    assert partition_limits(path, gpu=False).runtime == 60
    assert partition_limits(written(tmp_path / "..", {"cpu": {}}), gpu=True) == Limits()


@pytest.mark.parametrize("content", ["", "partitions: 3", "partitions: {cpu: {max_time: 3}}"])
def test_a_file_of_another_form_says_how_to_make_it(content: str, tmp_path: Path) -> None:
    path = tmp_path / "partitions.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=f"generate-slurm-partition-config -o {path}"):
        partition_limits(path, gpu=False)


def test_both_limits_hold() -> None:
    assert Limits(10, inf).within(Limits(20, 5)) == Limits(10, 5)
