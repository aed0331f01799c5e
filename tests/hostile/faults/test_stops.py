"""Training that is asked to stop, killed, or started twice, as users and schedulers do it."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opensora.cli.main import EXIT_DEFECT, EXIT_DONE, EXIT_STOPPED
from opensora.config.load import save_config
from opensora.core.io import read_json
from tests.unit.training.conftest import make_stores

ROOT = Path(__file__).parents[3]
STEPS, EVERY = 10, 4
pytestmark = pytest.mark.slow


class Training:
    """One folder that is trained into, by as many processes as are asked for.

    Args:
        folder: where configs and outputs are.
        processes: workers.
        text_encoder: what its captions were encoded with.
        **changes: fields of the training config.
    """

    def __init__(
        self, folder: Path, processes: int, *, text_encoder: str = "t5", **changes: Any
    ) -> None:
        self.outputs, self._processes = folder / "out", processes
        plan = {"epochs": 4 * processes, "world_size": processes}
        stores = make_stores(folder / "stores", **plan, text_encoder=text_encoder)
        self._config = folder / "config.py"
        model = {"type": "STDiT2", "patch_size": (1, 1, 1), "hidden_size": 24, "depth": 1}
        save_config(
            {
                "model": {**model, "num_heads": 2, "pred_sigma": False},
                "scheduler": {"type": "rflow"},
                "dataset": {"type": "LatentDataset", **stores},
                "dtype": "fp32",
                "num_steps": STEPS,
                "ckpt_every": EVERY,
                "log_every": 1,
                **changes,
            },
            self._config,
        )

    def start(self, *, step_s: float = 0.0, write_s: float = 0.0) -> "subprocess.Popen[str]":
        """Start it in a process group of its own."""
        words = [sys.executable, "-m", "opensora.cli.main", "train", str(self._config)]
        words += ["--outputs", str(self.outputs), "--processes", str(self._processes)]
        slow = {"SLOW_STEP_S": str(step_s), "SLOW_WRITE_S": str(write_s)} if step_s else {}
        path = os.pathsep.join([str(Path(__file__).parent / "slowly"), str(ROOT)])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **slow}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            words, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
        )

    def finish(self) -> None:
        """Run it to its end."""
        process = self.start()
        _, err = process.communicate(timeout=300)
        assert process.returncode == EXIT_DONE, err

    def wait_for_step(self, step: int, process: "subprocess.Popen[str]") -> None:
        """Wait until so many steps have been written down."""
        deadline = time.monotonic() + 500  # busy machines start slowly
        while len(self.losses(running=True)) < step:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def losses(self, *, running: bool = False) -> list[tuple[int, float]]:
        """(step, loss) of all lines of metrics."""
        path = self.outputs / ("state/metrics.jsonl" if running else "metrics.jsonl")
        lines = path.read_text().splitlines() if path.is_file() else []
        return [(row["step"], row["loss"]) for row in map(json.loads, lines)]

    def steps_saved(self) -> list[int]:
        """The steps of the checkpoints that are there."""
        return sorted(
            int(read_json(path)["step"]) for path in self.outputs.glob("state/step_*/run.json")
        )

    def weights(self) -> bytes:
        """The content of the finished weights."""
        return (self.outputs / "ema.safetensors").read_bytes()


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    """Numbers of the processes that a launcher has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children]


def to_group(process: "subprocess.Popen[str]", number: int) -> None:
    os.killpg(process.pid, number)


def to_launcher(process: "subprocess.Popen[str]", number: int) -> None:
    process.send_signal(number)


def to_workers(process: "subprocess.Popen[str]", number: int) -> None:
    for pid in workers_of(process):
        os.kill(pid, number)


def to_one_worker(process: "subprocess.Popen[str]", number: int) -> None:
    os.kill(workers_of(process)[-1], number)


def twice_to_group(process: "subprocess.Popen[str]", number: int) -> None:
    to_group(process, number)
    time.sleep(0.3)
    to_group(process, number)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Training]:
    """A run to its end by so many processes."""
    made: dict[int, Training] = {}

    def get(processes: int) -> Training:
        if processes not in made:
            made[processes] = Training(tmp_path_factory.mktemp(f"straight{processes}"), processes)
            made[processes].finish()
        return made[processes]

    return get


@pytest.fixture
def clean() -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that a failed test leaves are killed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def require_stopped(training: Training, process: "subprocess.Popen[str]") -> None:
    """It ended with 75, one sentence, and the checkpoint that the sentence names."""
    _, err = process.communicate(timeout=200)
    assert process.returncode == EXIT_STOPPED, err
    told = re.findall(r"stopped: after step (\d+) of", err)
    assert len(told) == 1, err
    assert err.count("stopped:") == 1, err
    assert "Traceback" not in err
    assert training.steps_saved()[-1] == int(told[0])
    assert not list(training.outputs.glob("state/.*"))


def require_same_end(training: Training, straight: Training) -> None:
    training.finish()
    assert training.losses() == straight.losses()
    assert training.weights() == straight.weights()


CASES = [
    (3, to_group, signal.SIGTERM),
    (2, to_workers, signal.SIGTERM),
    (1, to_group, signal.SIGHUP),
    (2, to_launcher, signal.SIGUSR1),
    *(
        pytest.param(processes, whom, number, marks=pytest.mark.faults)
        for processes, whom, number in [
            (2, to_group, signal.SIGTERM),
            (3, to_one_worker, signal.SIGTERM),
            (2, to_launcher, signal.SIGHUP),
            (2, twice_to_group, signal.SIGINT),
            (2, twice_to_group, signal.SIGTERM),
            (1, twice_to_group, signal.SIGINT),
            (1, to_group, signal.SIGUSR1),
        ]
    ),
]


@pytest.mark.parametrize(("processes", "whom", "number"), CASES)
def test_a_stop_saves_also_where_saving_takes_long(
    processes, whom, number, tmp_path, undisturbed, clean
):
    training = Training(tmp_path, processes)
    process = training.start(step_s=0.2, write_s=4.0)
    clean.append(process)
    training.wait_for_step(2, process)
    whom(process, number)
    require_stopped(training, process)
    require_same_end(training, undisturbed(processes))


def test_a_stop_during_a_checkpoint_saves(tmp_path, undisturbed, clean):
    training = Training(tmp_path, 2)
    process = training.start(step_s=0.2, write_s=3.0)
    clean.append(process)
    training.wait_for_step(EVERY, process)
    time.sleep(0.5)  # within the write
    to_group(process, signal.SIGTERM)
    require_stopped(training, process)
    require_same_end(training, undisturbed(2))


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.faults)])
def test_a_kill_while_a_checkpoint_is_written_beside_the_steps_leaves_none(
    processes, tmp_path, undisturbed, clean
):
    training = Training(tmp_path, processes)
    process = training.start(step_s=0.2, write_s=20.0)
    clean.append(process)
    training.wait_for_step(EVERY + 1, process)  # which does not wait for the one of step 4
    os.kill(process.pid if processes == 1 else workers_of(process)[-1], signal.SIGKILL)
    process.communicate(timeout=200)
    assert training.steps_saved() == []
    assert list(training.outputs.glob("state/.step_00000004.*"))
    require_same_end(training, undisturbed(processes))
    assert not list(training.outputs.glob("state/.step_*"))


def test_workers_end_with_their_launcher_and_the_next_run_waits_for_them(
    tmp_path, undisturbed, clean
):
    training = Training(tmp_path, 2)
    process = training.start(step_s=0.2, write_s=3.0)
    clean.append(process)
    training.wait_for_step(2, process)
    workers = workers_of(process)
    process.kill()
    process.wait()
    require_same_end(training, undisturbed(2))
    # what nobody waits for stays as a zombie: its files of memory are gone
    assert not [pid for pid in workers if Path(f"/proc/{pid}/exe").exists()]


def test_a_second_run_in_the_same_folder_is_refused(tmp_path, undisturbed, clean):
    training = Training(tmp_path, 2)
    process = training.start(step_s=8.0, write_s=0.1)  # a busy machine starts the second slowly
    clean.append(process)
    training.wait_for_step(1, process)
    second = training.start()
    clean.append(second)
    _, err = second.communicate(timeout=200)
    assert second.returncode == EXIT_DEFECT  # no sign that a person must act: no mark
    assert err.count("is being trained by process") == 1, err
    assert "Traceback" not in err
    to_launcher(process, signal.SIGTERM)
    require_stopped(training, process)
    require_same_end(training, undisturbed(2))


def test_the_shell_of_the_rule_outlives_a_signal_to_all(tmp_path, undisturbed, clean):
    head = re.search(r'"(trap [^"]*; )"', (ROOT / "workflow/rules/train.smk").read_text())
    assert head is not None
    training = Training(tmp_path, 2)
    log = tmp_path / "train.log"
    words = [sys.executable, "-m", "opensora.cli.main", "train", str(tmp_path / "config.py")]
    words += ["--outputs", str(training.outputs), "--processes", "2"]
    path = os.pathsep.join([str(Path(__file__).parent / "slowly"), str(ROOT)])
    process = subprocess.Popen(
        ["bash", "-c", f"set -euo pipefail; {head[1]}{' '.join(words)} > {log} 2>&1"],
        env={
            **os.environ,
            **{"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            **{"SLOW_STEP_S": "0.2", "SLOW_WRITE_S": "2"},
        },
        start_new_session=True,
        text=True,
    )
    clean.append(process)
    training.wait_for_step(2, process)
    to_group(process, signal.SIGTERM)
    assert process.wait(timeout=200) == EXIT_STOPPED
    assert log.read_text().count("stopped: after step") == 1
    require_same_end(training, undisturbed(2))


@pytest.mark.faults
@pytest.mark.timeout(3600)  # ten runs, each started twice
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_stop_at_any_moment_saves(processes, tmp_path, undisturbed, clean):
    rng = random.Random(processes)
    for moment in range(10):
        (tmp_path / str(moment)).mkdir()
        training = Training(tmp_path / str(moment), processes)
        process = training.start(step_s=0.3, write_s=1.0)
        clean.append(process)
        if moment >= 3:  # the first three also fall into the start
            training.wait_for_step(1, process)
        time.sleep(rng.uniform(0, 4))
        to_group(process, signal.SIGTERM)
        _, err = process.communicate(timeout=200)
        # before Python listens the system ends it; a run that was done is done
        assert process.returncode in (EXIT_STOPPED, EXIT_DONE, -signal.SIGTERM), err
        if told := re.findall(r"stopped: after step (\d+) of", err):
            assert training.steps_saved()[-1] == int(told[0])
        else:
            assert process.returncode == EXIT_DONE or not training.losses(running=True)
        require_same_end(training, undisturbed(processes))


@pytest.mark.faults
@pytest.mark.timeout(3600)  # ten runs, each started twice
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_kill_at_any_moment_costs_no_more_than_the_steps_since_the_last_checkpoint(
    processes, tmp_path, undisturbed, clean
):
    rng = random.Random(10 + processes)
    for moment in range(10):
        (tmp_path / str(moment)).mkdir()
        training = Training(tmp_path / str(moment), processes)
        process = training.start(step_s=0.2, write_s=0.5)
        clean.append(process)
        training.wait_for_step(1, process)
        time.sleep(rng.uniform(0, 3))
        done = len(training.losses(running=True))
        victims = [process.pid, *(workers_of(process) if processes > 1 else [])]
        os.kill(rng.choice(victims), signal.SIGKILL)
        process.communicate(timeout=200)
        saved = training.steps_saved()[-1] if training.steps_saved() else 0
        assert saved >= done - 2 * EVERY  # one may be on its way
        require_same_end(training, undisturbed(processes))
