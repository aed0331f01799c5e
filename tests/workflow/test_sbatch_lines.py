"""What is asked of a cluster, read from the lines that the SLURM plugin gives to sbatch."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from opensora.dag.cluster.runtime import LEAST_MIN
from opensora.dag.resources import RULES
from tests.workflow.sbatch_lines import REPOSITORY, submitted, submitted_jobs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# of runs that enter with a table
OTHER_ENTRIES = {"fetch", "import_manifest", "import_scenes"}
TASKS = ("--nodes", "--ntasks", "--ntasks-per-gpu", "--gpus", "--gpus-per-node")


def asked(words: list[str]) -> dict[str, str]:
    """Options of sbatch, up to the command; what has its value behind it, too."""
    found = {}
    for word, after in pairwise(words):
        if word.startswith("--wrap="):
            break
        if word.startswith("-"):
            name, _, value = word.partition("=")
            found[name] = value or after
    return found


def test_a_stage_gets_its_nodes_tasks_and_gpus(tmp_path: Path) -> None:
    expected = {
        (1, 0): ("1", "1", None, None, None),
        (2, 0): ("2", "2", None, None, None),
        (1, 4): ("1", None, None, "4", None),
        (2, 4): ("2", "2", None, "8", "4"),
    }
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    config["stages"] = [
        {**config["stages"][0], "name": f"of{nodes}by{gpus}", "nodes": nodes, "gpus": gpus}
        for nodes, gpus in expected
    ]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    jobs = submitted_jobs(tmp_path, tmp_path / "config.yaml", "train_all")
    for (nodes, gpus), tasks in expected.items():
        train = asked(jobs["train", f"of{nodes}by{gpus}"])
        assert tuple(train.get(name) for name in TASKS) == tasks
        assert train["-p"] == ("gpu" if gpus else "cpu")
    encoding = [asked(words) for (rule, _), words in jobs.items() if rule == "encode_videos"]
    assert {words["-p"] for words in encoding} == {"cpu"}


def test_every_rule_asks_for_what_the_shipped_config_says(tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    shipped = yaml.safe_load((REPOSITORY / "configs/workflow/default.yaml").read_text())
    config["resources"] = shipped["resources"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    lines = submitted(tmp_path, tmp_path / "config.yaml", "all")
    assert set(lines) == set(RULES) - OTHER_ENTRIES
    with_gpus = {rule for rule, fields in shipped["resources"].items() if isinstance(fields, dict)}
    for rule, words in lines.items():
        line = asked(words)
        assert line["-p"] == ("gpu" if rule in with_gpus else "cpu"), rule
        assert line.get("--gpus") == ("1" if rule in with_gpus else None), rule
        assert int(line["--mem"]) >= 2000
        assert int(line["-t"]) in (RULES[rule].runtime, LEAST_MIN), rule
        assert "--no-requeue" in line
