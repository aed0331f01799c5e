"""A small run on a cluster, something that goes wrong, and what it must come to all the same."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.slurm.cluster import Cluster, wait_for
from tests.workflow.sbatch_lines import REPOSITORY

PROFILE = REPOSITORY / "profiles/slurm"
STAGE = "results/test/train/stage1"
LOG = "logs/train/test/stage1.log"
STEPS = 12
TWO_NODES = {"nodes": 2}
ONE_NODE = {"processes": 2}
WAIT_S = 1200  # longer than anything takes on a machine that a dozen share
STEP_S = 4.0  # of a training that is to be met while it goes on; numbers stay the same
_SLOWLY = REPOSITORY / "tests/hostile/faults/slowly"
_CALM, _TABLE = "slurm-no-requeue: true", "slurm-efficiency-report"


def smallest(**stage: Any) -> dict[str, Any]:
    """One shard and one stage of the test run; its VAE learns too little for the gate.

    Args:
        stage: nodes and processes of training; two workers in all, as the plan has it.
    """
    config: dict[str, Any] = yaml.safe_load(
        (REPOSITORY / "configs/workflow/test.yaml").read_text(encoding="utf-8")
    )
    for part in (*config["stages"], config["sample"], *config["models"].values()):
        part["config"] = str(REPOSITORY / part["config"])
    config |= {"num_shards": 1, "scorers": ["technical"], "filters": {}}
    config["stages"] = [
        {"name": "stage1", "config": str(REPOSITORY / "tests/slurm/longer.py")} | stage
    ]
    config["demo"] = {"num_videos": 5, "scenes_per_video": 2, "num_images": 4}
    config["encode"]["min_psnr"] = 0
    return config


def undisturbed(folder: Path) -> None:
    """Make the run in a folder on this machine, with two workers of two threads each."""
    config = smallest(processes=2) | {"resources": {"threads": 4}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = [
        *(sys.executable, "-m", "snakemake", "train_all", "--cores", "4"),
        *("--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)),
        *("--profile", str(REPOSITORY / "profiles/test"), "--configfile", "config.yaml"),
    ]
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=3 * WAIT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def hashes(folder: Path) -> dict[str, str]:
    """Of the manifest and the weights."""
    files = [*folder.glob("results/test/manifest/*.parquet"), *folder.glob(f"{STAGE}/*tensors")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def is_equal(run: "FaultyRun", whole: Path) -> bool:
    """Whether manifest and weights are those of the calm run, with every step written once."""
    assert len(hashes(whole)) >= 3
    assert hashes(run.folder) == hashes(whole), run.said[-3000:]
    return len((run.folder / STAGE / "metrics.jsonl").read_text().splitlines()) == STEPS


@dataclass
class FaultyRun:
    """A copy of the undisturbed run that has some of its results to make again on a cluster.

    Attributes:
        running: the cluster.
        folder: of the run.
        profile: of Snakemake.
        step_s: seconds that a step of training takes.
    """

    running: Cluster
    folder: Path
    profile: Path = PROFILE
    step_s: float = STEP_S

    @classmethod
    def of(
        cls, running: Cluster, whole: Path, folder: Path, *, lacks: Sequence[str], **config: Any
    ) -> "FaultyRun":
        """Copy a run but some of its results.

        Args:
            running: the cluster.
            whole: the undisturbed run.
            folder: of the copy.
            lacks: files and folders that are to be made again.
            config: settings of the workflow in place of the usual ones.
        """
        shutil.copytree(whole, folder, symlinks=True)
        for name in lacks:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink()
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        return cls(running, folder)

    def lets_slurm_requeue(self) -> None:
        """Take the second block of the profile as it is for preemptible partitions."""
        self._change_profile(
            (f"\n{_CALM}\n", "\n"), ("\n# slurm-requeue: true\n", "\nslurm-requeue: true\n")
        )

    def wants_efficiency(self) -> None:
        """Take the third block of the profile as it is for clusters with accounting."""
        self._change_profile(
            *((f"\n# {name}", f"\n{name}") for name in (f"{_TABLE}: true", f"{_TABLE}-path:"))
        )

    def _change_profile(self, *changes: tuple[str, str]) -> None:
        text = (PROFILE / "config.v9+.yaml").read_text(encoding="utf-8")
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        self.profile = self.folder / "profile"
        self.profile.mkdir()
        (self.profile / "config.v9+.yaml").write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def begun(self, target: str, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Snakemake, in the background, as docs/cluster.md starts it; killed if it is left."""
        environment = self.running.environment
        environment |= {"SLOW_STEP_S": str(self.step_s), "SLOW_WRITE_S": "0"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        before = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{_SLOWLY}:{before}" if before else str(_SLOWLY)
        command = [
            *(sys.executable, "-m", "snakemake", target, "--profile", str(self.profile)),
            *("--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(self.folder)),
            *("--configfile", "config.yaml", "--latency-wait", "5"),
            *("--slurm-partition-config", str(PROFILE / "partitions.yaml"), *words),
        ]
        with (self.folder / "said.txt").open("ab") as said:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def end(self, target: str, *words: str, seconds: float = 2 * WAIT_S) -> int:
        """Run it to its end; the exit code."""
        with self.begun(target, *words) as process:
            return process.wait(seconds)

    @property
    def said(self) -> str:
        """All that Snakemake has printed."""
        return (self.folder / "said.txt").read_text(encoding="utf-8", errors="replace")

    def log(self, name: str = LOG) -> str:
        """The log of a job; "" before there is one."""
        path = self.folder / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def jobs(self) -> list[str]:
        """Numbers of the jobs that SLURM has not ended yet, the oldest first."""
        return self.running.run("squeue", "-h", "-o", "%A", "--sort=i").stdout.split()

    def state(self, job: str) -> str:
        """What became of a job, as COMPLETED."""
        found = self.running.run("scontrol", "show", "job", job).stdout
        return re.findall(r"JobState=(\w+)", found)[0] if found else ""

    def node(self, job: str) -> str:
        """The node that a job runs on."""
        return self.running.run("squeue", "-h", "-j", job, "-o", "%N").stdout.strip()

    def has_begun(self, number: int) -> bool:
        """Whether training was tried so many times, the one that goes on included."""
        return self.log().count("=== opensora train on ") == number

    def trained_steps(self) -> int:
        """Steps that are in the metrics of training so far."""
        path = self.folder / STAGE / "state/metrics.jsonl"
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0

    def wait_for_steps(self, number: int, seconds: float = WAIT_S) -> str:
        """Wait until training has done some steps; the number of its job."""
        wait_for(seconds, lambda: self.trained_steps() >= number)
        return self.jobs()[-1]

    def wait_for_log(self, text: str, name: str, seconds: float = WAIT_S) -> str:
        """Wait until a job's log has some text; the number of the job."""
        wait_for(seconds, lambda: text in self.log(name))
        return self.jobs()[-1]

    def wait_for_end(self, job: str, seconds: float = WAIT_S) -> None:
        """Wait until a job is no longer in the queue."""
        wait_for(seconds, lambda: job not in self.jobs())
        time.sleep(1)
