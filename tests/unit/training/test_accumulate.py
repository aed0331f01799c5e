"""`accumulate`: several micro batches a step, as if they were one batch."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from opensora.acceleration.workers import worker_group
from opensora.config.load import save_config
from opensora.core.errors import CheckpointError, ConfigError, Stopped
from opensora.core.io import read_json
from opensora.datasets.stored import LatentBatch
from opensora.plans.compile import BatchPlan
from opensora.schedulers.rf import rectified_flow
from opensora.training.config import TrainConfig
from opensora.training.device.facts import StepResult
from opensora.training.start import TrainingRun, count_steps, prepare_run
from opensora.training.step import train_step
from opensora.training.watched.watch import FIRST_STEPS
from tests import forked

from .conftest import interrupt_at, make_stores, run
from .test_loop import assert_same_results, lines

# smooth: Adam's first updates would otherwise be signs, which no round-off may touch
SMOOTH = {"type": "adamw", "lr": 1e-2, "eps": 1.0}
IMAGES = 3  # of a batch, beside two clips


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Stores with batches of two clips and of three images."""
    return make_stores(tmp_path_factory.mktemp("uneven"), images=IMAGES, epochs=6)


@contextmanager
def prepared(config: TrainConfig) -> Iterator[TrainingRun]:
    with worker_group() as workers:
        yield prepare_run(config, workers)


def first_step(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> tuple[StepResult, list[Tensor]]:
    """The first step's result and its gradients, which change nothing."""
    taken: list[Tensor] = []

    def keep(is_sound: Tensor) -> Tensor:
        taken.extend(p.grad.clone() for p in run.engine.parameters)
        run.engine.optimizer.zero_grad()
        return torch.tensor(1.0)

    monkeypatch.setattr(run.engine, "update", keep)
    first, *more = [(at, run.source.read(at)) for at in range(run.config.accumulate)]
    return train_step(run, FIRST_STEPS, *first, stop=False, more=more).read(run), taken


def gradients(run: TrainingRun, loss: Tensor) -> list[Tensor]:
    loss.backward()
    return [p.grad for p in run.engine.parameters]


def assert_equal_to_1e6(found: list[Tensor], expected: list[Tensor]) -> None:
    largest = max(float(g.abs().max()) for g in expected)
    assert largest > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6 * largest)


def find_positions(plan: BatchPlan, wanted: Callable[[list[str]], bool], number: int) -> int:
    """First of `number` entries in a row whose bucket names are `wanted`."""
    names = [str(plan[at].bucket) for at in range(len(plan))]
    return next(at for at in range(len(plan)) if wanted(names[at : at + number]))


@pytest.mark.parametrize("accumulate", [2, 3])
def test_micro_batches_of_one_bucket_are_one_large_batch(
    make_config, monkeypatch, tmp_path, accumulate
):
    # too few images for a batch
    only_clips = make_stores(tmp_path / "stores", images=100, epochs=6)
    config = make_config(accumulate=accumulate, dataset={"type": "LatentDataset", **only_clips})
    config.model["class_dropout_prob"] = 0.0
    draws: dict[str, list[Tensor]] = {"draw_timesteps": [], "draw_noise": []}
    for name, drawn in draws.items():
        monkeypatch.setattr(rectified_flow, name, recording(name, drawn))
    with prepared(config) as run:
        result, found = first_step(run, monkeypatch)
        for name, drawn in draws.items():  # the large batch has what the small ones drew
            everything = torch.cat(drawn)
            monkeypatch.setattr(rectified_flow, name, lambda *_, _all=everything, **__: _all)
        batches = [run.source.read(at) for at in range(accumulate)]
        loss = clip_losses(run, large_batch(batches)).mean()
        expected = gradients(run, loss)
    assert result.samples == 2 * accumulate
    assert result.loss == pytest.approx(float(loss), rel=1e-6)
    assert_equal_to_1e6(found, expected)


def recording(name: str, drawn: list[Tensor]) -> Callable[..., Tensor]:
    original = getattr(rectified_flow, name)

    def draw(*arguments: Any, **keywords: Any) -> Tensor:
        drawn.append(original(*arguments, **keywords))
        return drawn[-1]

    return draw


def large_batch(batches: list[LatentBatch]) -> dict[str, Any]:
    return {
        name: torch.cat([batch[name] for batch in batches])
        for name, value in batches[0].items()
        if isinstance(value, Tensor)
    }


def clip_losses(run: TrainingRun, batch: dict[str, Any], **keywords: Any) -> Tensor:
    conditions = {k: v.float() if k == "y" else v for k, v in batch.items() if k != "ids"}
    latents = conditions.pop("latents").float()
    terms = run.scheduler.training_losses(
        run.engine.module, latents, model_kwargs=conditions, **keywords
    )
    return terms["loss"]


def test_micro_batches_of_two_buckets_count_by_their_clips(make_config, monkeypatch, uneven):
    config = make_config(accumulate=2, dataset={"type": "LatentDataset", **uneven})
    config.model["class_dropout_prob"] = 0.0
    drawn: dict[str, list[Tensor]] = {"draw_timesteps": [], "draw_noise": []}
    with prepared(config) as run:
        plan = run.source.plan
        at = find_positions(plan, lambda names: len(set(names)) == 2, 2)
        assert {len(plan[at].ids), len(plan[at + 1].ids)} == {2, IMAGES}
        read = run.source.read
        monkeypatch.setattr(run.source, "read", lambda position: read(at + position))
        monkeypatch.setattr(run, "counters", replace(run.counters, micro_batches=at))
        for name, values in drawn.items():
            monkeypatch.setattr(rectified_flow, name, recording(name, values))
        result, found = first_step(run, monkeypatch)
        parts = []
        for number in range(2):
            for name, values in drawn.items():
                fixed = values[number]
                monkeypatch.setattr(rectified_flow, name, lambda *_, _one=fixed, **__: _one)
            parts.append(clip_losses(run, dict(run.source.read(number))))
        loss = torch.cat(parts).mean()
        expected = gradients(run, loss)
    assert len(torch.cat(parts)) == result.samples == 2 + IMAGES
    assert result.loss == pytest.approx(float(loss), rel=1e-6)
    assert float(loss) != pytest.approx(float(sum(p.mean() for p in parts)) / 2, rel=1e-4)
    assert_equal_to_1e6(found, expected)


def test_gradients_are_averaged_once_a_step(make_config, monkeypatch):
    with prepared(make_config(accumulate=3, num_steps=2)) as run:
        ddp: Any = run.engine.model.module
        backward, synced = run.engine.backward, []

        def watched(loss: Tensor) -> None:
            synced.append(ddp.require_backward_grad_sync)
            backward(loss)

        monkeypatch.setattr(run.engine, "backward", watched)
        first_step(run, monkeypatch)
    assert synced == [False, False, True]


def test_steps_schedule_metrics_and_checkpoints_count_optimizer_steps(make_config, uneven):
    config = make_config(
        **{"accumulate": 3, "num_steps": 4, "ckpt_every": 2, "optimizer": SMOOTH},
        dataset={"type": "LatentDataset", **uneven},
    )
    assert run(config).startswith("4 steps, loss ")
    assert [line["step"] for line in lines(config)] == [1, 2, 3, 4]
    assert [line["lr"] for line in lines(config)] == [0.005, 0.01, 0.01, 0.01]
    folders = sorted(Path(config.state_folder).glob("step_*"))
    assert [folder.name for folder in folders] == ["step_00000002", "step_00000004"]
    assert [read_json(f / "run.json")["micro_batches"] for f in folders] == [6, 12]


def test_a_stopped_run_goes_on_to_the_same_bytes_and_another_accumulate_is_another_recipe(
    make_config, tmp_path, monkeypatch
):
    straight = make_config(outputs=str(tmp_path / "straight"), accumulate=2)
    run(straight)
    halves = make_config(outputs=str(tmp_path / "halves"), accumulate=2, num_workers=0)
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=4)
        with pytest.raises(Stopped, match="step 3 of 6"):
            run(halves)
    with pytest.raises(CheckpointError, match="unfinished run is of another recipe"):
        run(make_config(outputs=str(tmp_path / "halves"), accumulate=4, num_steps=4))
    run(halves)
    assert_same_results(straight, halves)


KILLED = """
import os, signal, sys
from opensora.training import step
forward = step._forward
def killing(run, number, position, *rest):
    if position == 5 and not os.environ.get("SURVIVE"):  # the second micro batch of step 3
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(run, number, position, *rest)
step._forward = killing
from opensora.cli.main import entry
sys.argv = ["opensora", *sys.argv[1:]]
sys.exit(entry())
"""


@pytest.mark.slow
def test_a_run_killed_between_two_micro_batches_goes_on_to_the_same_bytes(make_config, tmp_path):
    configs = {
        name: make_config(outputs=str(tmp_path / name), accumulate=2, ckpt_every=1, num_steps=4)
        for name in ("straight", "killed")
    }

    def train(name: str, **environment: str) -> int:
        fields = {key: value for key, value in vars(configs[name]).items() if key != "outputs"}
        save_config(fields, tmp_path / "config.py")
        words = ["train", str(tmp_path / "config.py"), "--outputs", configs[name].outputs]
        command = [sys.executable, "-c", KILLED, *words]
        place = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run(command, env=place, timeout=300, check=False).returncode

    assert train("straight", SURVIVE="1") == 0
    assert train("killed") == -signal.SIGKILL
    folders = Path(configs["killed"].outputs, "state").glob("step_*")
    # that of step 2 is written beside step 3
    assert max(folder.name for folder in folders) in ("step_00000001", "step_00000002")
    assert train("killed", SURVIVE="1") == 0
    assert_same_results(configs["straight"], configs["killed"])


@pytest.mark.slow
def test_two_workers_with_two_each_train_as_one_with_four(make_config, tmp_path, uneven):
    fields = {"dataset": {"type": "LatentDataset", **uneven}, "optimizer": SMOOTH, "num_steps": 3}
    fields |= {"grad_clip": None, "warmup_steps": 0}
    one = make_config(**fields, accumulate=4, outputs=str(tmp_path / "one"))
    run(one)
    two = make_config(**fields, accumulate=2, outputs=str(tmp_path / "two"))
    save_config({k: v for k, v in vars(two).items() if k != "outputs"}, tmp_path / "config.py")
    words = ["train", str(tmp_path / "config.py"), "--outputs", two.outputs, "--processes", "2"]
    done = forked.run("opensora.cli.main", *words, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    start = load_file(Path(one.outputs) / "ema.safetensors")
    moved = 0.0
    for name, value in load_file(Path(two.outputs) / "model.safetensors").items():
        expected = load_file(Path(one.outputs) / "model.safetensors")[name]
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
        moved = max(moved, float((expected - start[name]).abs().max()))
    assert moved > 1e-4  # the average lags behind: there was something to be equal in
    losses = [[line["loss"] for line in lines(config)] for config in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_a_plan_deals_whole_steps_and_says_what_it_lacks(make_config, tmp_path):
    plans = {
        n: BatchPlan(make_stores(tmp_path / str(n), accumulate=n, world_size=2)["plan"])
        for n in (1, 3)
    }
    assert [len(plan) for plan in plans.values()] == [32, 30]
    assert plans[1].hash == plans[3].hash  # the same sequence, dealt out otherwise
    assert "accumulate" not in plans[1].metadata
    assert plans[3].metadata["accumulate"] == 3
    with pytest.raises(
        ConfigError, match="32 micro batches in 4 epochs are fewer than the 2 ranks"
    ):
        make_stores(tmp_path / "few", accumulate=17, world_size=2)
    with prepared(make_config()) as run:
        fresh = run.counters
    config = make_config(accumulate=5, num_steps=None)
    assert count_steps(config, 32, fresh, 2) == 3
    with pytest.raises(ConfigError, match="3 steps of 2 workers with 5 each"):
        count_steps(make_config(accumulate=5, num_steps=4), 32, fresh, 2)
    with pytest.raises(ConfigError, match="fewer than the 7 workers with 5 each; accumulate less"):
        count_steps(config, 32, fresh, 7)


@pytest.mark.parametrize("value", [0, -1, 1.5, "two"])
def test_accumulate_is_a_whole_number(make_config, value):
    with pytest.raises(
        ConfigError, match=r"accumulate is .*; expected a whole number of at least 1"
    ):
        make_config(accumulate=value)
