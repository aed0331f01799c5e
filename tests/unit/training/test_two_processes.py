"""`opensora train --processes 2`, started as a user starts it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opensora.acceleration.workers import worker_group
from opensora.config.load import save_config
from opensora.core.io import read_json
from opensora.core.seed import derive_seed
from opensora.training.config import TrainConfig
from opensora.training.start import prepare_run

pytestmark = pytest.mark.slow


def command(config: TrainConfig, folder: Path, *words: str) -> list[str]:
    fields = {name: value for name, value in vars(config).items() if name != "outputs"}
    save_config(fields, folder / "config.py")
    start = [sys.executable, "-m", "opensora.cli.main", "train", str(folder / "config.py")]
    return [*start, "--outputs", config.outputs, "--processes", "2", *words]


def start(words: list[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment)


def average_gradients_by_hand(config: TrainConfig, num_steps: int) -> dict[str, torch.Tensor]:
    """Two micro batches a step, one after the other in one process, their gradients halved."""
    with worker_group() as workers:
        run = prepare_run(config, workers)
        model = run.engine.module.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
        for step in range(num_steps):
            for position in (2 * step, 2 * step + 1):
                batch = dict(run.source.read(position))
                latents, _ = batch.pop("latents"), batch.pop("ids")
                torch.manual_seed(derive_seed(config.seed, "dropout", position))
                noise = torch.Generator().manual_seed(derive_seed(config.seed, "noise", position))
                terms = run.scheduler.training_losses(
                    model, latents, model_kwargs=batch, generator=noise
                )
                (terms["loss"].mean() / 2).backward()
            optimizer.step()
            optimizer.zero_grad()
        return model.state_dict()


def test_two_workers_train_on_the_average_of_their_gradients(make_config, tmp_path):
    config = make_config(
        num_steps=3,
        optimizer={"type": "adamw", "lr": 1e-3},
        grad_clip=None,
        warmup_steps=0,
        outputs=str(tmp_path / "two"),
    )
    process = start(command(config, tmp_path))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.startswith("train: 3 steps, loss ")
    assert out.count("\n") == 1  # one summary line for all processes
    state = read_json(tmp_path / "two/state/step_00000003/run.json")
    assert state["micro_batches"] == 6
    one = make_config(**{**vars(config), "outputs": str(tmp_path / "one")})
    expected = average_gradients_by_hand(one, 3)
    for name, value in load_file(tmp_path / "two/model.safetensors").items():
        torch.testing.assert_close(value, expected[name], rtol=2e-3, atol=2e-5)


def test_sigterm_ends_with_75_and_one_process_continues_where_two_stopped(make_config, tmp_path):
    config = make_config(num_steps=None, ckpt_every=100_000, log_every=1)
    # the plan has 32 micro batches: ask the two workers to stop as soon as they have begun
    process = start(command(config, tmp_path))
    metrics = Path(config.outputs) / "state/metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (metrics.is_file() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=200)
    if process.returncode == 0:
        pytest.skip("all steps were done before the signal came")
    assert process.returncode == 75, err
    (folder,) = (Path(config.outputs) / "state").glob("step_*")
    state = read_json(folder / "run.json")
    assert state["micro_batches"] == 2 * state["step"] < 32
    with worker_group() as workers:
        run = prepare_run(config, workers)
    assert run.total_steps == state["step"] + 32 - 2 * state["step"]
