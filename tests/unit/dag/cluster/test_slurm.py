"""What SLURM says of itself is read; what does not answer is a sentence."""

from math import inf
from pathlib import Path

import pytest

from opensora.core.errors import ConfigError
from opensora.dag.cluster import slurm
from tests.fake_slurm import NODES, SETTINGS, WITH_ACCOUNTS, answering


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def use(**commands: str) -> None:
        folder = answering(tmp_path / "tools", {"sinfo": NODES, "scontrol": SETTINGS, **commands})
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return use


def test_partitions_nodes_and_settings_are_read(answers) -> None:
    answers()
    found = slurm.look()
    cpu, gpu = found.partitions.values()
    assert (cpu.name, cpu.is_default, cpu.runtime, cpu.is_up) == ("cpu", True, 2880, True)
    assert cpu.nodes == (slurm.Nodes(4, 32, 128_000, 0),)
    assert (gpu.name, gpu.is_default, gpu.runtime) == ("gpu", False, 1440)
    assert gpu.nodes == (slurm.Nodes(2, 64, 500_000, 8),)
    assert found.default == "cpu"
    assert (found.has_accounting, found.needs_account) == (False, False)
    assert (found.min_job_age, found.requeues) == (300, True)


def test_nodes_of_several_kinds_belong_to_one_partition(answers) -> None:
    answers(sinfo="a|1|8|32000|(null)|infinite|OFF|up\na|2|8|64000|gpu:2,gpu:h:4|infinite|OFF|up\n")
    (part,) = slurm.look().partitions.values()
    assert part.nodes == (slurm.Nodes(1, 8, 32_000, 0), slurm.Nodes(2, 8, 64_000, 6))
    assert part.runtime == inf
    assert slurm.look().default == ""


def test_accounts_and_the_usual_one(answers) -> None:
    by_words = {"sacctmgr associations": "lab\nlab\nother\n", "sacctmgr": "lab\n"}
    answers(scontrol=WITH_ACCOUNTS, **by_words)
    assert slurm.look().has_accounting
    assert slurm.look().needs_account
    assert slurm.accounts() == (["lab", "other"], "lab")


@pytest.mark.parametrize(
    ("says", "runtime"),
    [
        ("DenyOnLimit,PartitionTimeLimit|7-00:00:00", 10_080),
        ("PartitionTimeLimit|", inf),
        ("DenyOnLimit|7-00:00:00", 2880),
        ("", 2880),  # there is none of this name: sbatch will say so
        ("fail: sacctmgr: error: no accounting here", inf),  # nobody knows: SLURM decides
    ],
)
def test_a_quality_of_service_may_lift_the_time_limit(answers, says: str, runtime: float) -> None:
    answers(**{"sacctmgr name=long": says})
    found = slurm.look()
    assert slurm.under_qos(found, None) == found
    assert slurm.under_qos(found, "long").partitions["cpu"].runtime == runtime


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2-00:00:00", 2880),
        ("1-12", 2160),
        ("12:00:00", 720),
        ("30:00", 30),
        ("45", 45),
        ("infinite", inf),
        ("UNLIMITED", inf),
    ],
)
def test_times_are_minutes(text: str, expected: float) -> None:
    assert slurm.minutes(text) == expected


def test_no_slurm_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no SLURM here: the command sinfo is not found; run"):
        slurm.look()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("sinfo: fatal: no such cluster", "does not answer: sinfo --noheader: sinfo: fatal: no su"),
        ("sinfo: error: Unable to contact slurm controller", "controller does not answer; give"),
    ],
)
def test_a_slurm_that_does_not_answer_is_one_sentence(answers, said: str, sentence: str) -> None:
    answers(sinfo=f"fail: {said}")
    with pytest.raises(ConfigError, match=sentence) as refused:
        slurm.look()
    assert isinstance(refused.value, slurm.ControllerAwayError) == ("controller" in said)
