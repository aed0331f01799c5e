"""A stage with milestones is a chain of training jobs, each sampled beside the next."""

import re
from pathlib import Path

import pytest
import yaml

from opensora.core.errors import ConfigError
from opensora.dag.dry_run import dry_run
from opensora.dag.settings import check_workflow_config
from tests import forked

REPOSITORY = Path(__file__).parents[2]


def config_file(folder: Path, milestones: list[int]) -> Path:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/demo.yaml").read_text())
    config["stages"][0]["milestones"] = milestones
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def commands(path: Path, folder: Path) -> dict[str, str]:
    """Outputs folder -> command of each training job."""
    words = ["--snakefile", str(REPOSITORY / "Snakefile")]
    words += [
        "--directory",
        str(folder),
        "--configfile",
        str(path),
        "--dry-run",
        "--printshellcmds",
    ]
    done = forked.run("snakemake", *words)
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines() if "opensora train " in line]
    return {re.search(r"--outputs \S+/train/(\S+)", line)[1]: line for line in lines}


def test_each_milestone_is_trained_sampled_and_evaluated(tmp_path: Path) -> None:
    path = config_file(tmp_path, [20, 40])
    jobs = dry_run(path, snakefile=REPOSITORY / "Snakefile", folder=tmp_path)
    for rule, output in (("sample", "samples"), ("evaluate", "evaluation")):
        made = " ".join(name for job in jobs if job.rule == rule for name in job.outputs)
        assert all(f"{output}/stage1@{step}" in made for step in (20, 40)), made
    trained = [job for job in jobs if job.rule == "train"]
    assert len(trained) == 4
    # nothing of training waits for samples, which are made beside it
    assert not any("/samples/" in name for job in trained for name in job.inputs)
    assert any("train/stage1@20" in name for job in trained for name in job.inputs)
    found = commands(path, tmp_path)
    assert list(sorted(found)) == ["stage1", "stage1@20", "stage1@40", "stage2"]
    assert "--until 20 " in found["stage1@20"]
    assert "--load" not in found["stage1@20"]
    for later, former in (("stage1@40", "stage1@20"), ("stage1", "stage1@40")):
        assert f"/train/{former}/state " in found[later].partition("--load ")[2]
    assert "--until 40 " in found["stage1@40"]
    assert "--until" not in found["stage1"]
    assert "/buckets/stage1/settled.parquet" in found["stage1@40"]
    assert "/train/stage1/ema.safetensors " in found["stage2"].partition("--load ")[2]


def test_without_milestones_there_are_the_jobs_of_before(tmp_path: Path) -> None:
    found = commands(config_file(tmp_path, []), tmp_path)
    assert sorted(found) == ["stage1", "stage2"]
    assert not any("--until" in line for line in found.values())


@pytest.mark.parametrize("milestones", [[40, 20], [20, 20]])
def test_milestones_rise(tmp_path: Path, milestones: list[int]) -> None:
    config = yaml.safe_load(config_file(tmp_path, milestones).read_text())
    with pytest.raises(ConfigError, match="must rise"):
        check_workflow_config(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
