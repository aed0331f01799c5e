"""Training with sequence parallelism: processes that share videos, on gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from opensora.config.load import save_config
from opensora.core.io import read_json
from opensora.training.config import TrainConfig

pytestmark = pytest.mark.slow


def train(config: TrainConfig, folder: Path, *, processes: int, **changes: Any) -> list[Any]:
    """Train in processes of their own; returns the lines of metrics.jsonl."""
    folder.mkdir(exist_ok=True)
    fields = {**vars(config), "outputs": str(folder / "out"), **changes}
    save_config(Config(fields), folder / "config.py")
    words = [sys.executable, "-m", "opensora.cli.main", "train", str(folder / "config.py")]
    done = subprocess.run(
        [*words, "--processes", str(processes)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"sp_size={fields['sp_size']} " in done.stderr
    lines = (folder / "out/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def config(make_config: Any) -> TrainConfig:
    """Micro batches of videos and of images, captions dropped and frames given."""
    made: TrainConfig = make_config(
        optimizer={"type": "adamw", "lr": 1e-3, "eps": 1e-6},
        mask_ratios={"mask_random": 0.5, "mask_no": 0.5},
        grad_clip=0.5,
    )
    return made


def compare(one: Path, other: Path) -> None:
    for name in ("model", "ema"):
        expected = load_file(one / f"out/{name}.safetensors")
        for key, value in load_file(other / f"out/{name}.safetensors").items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-5, msg=key)


def test_two_that_share_videos_train_as_one_and_one_goes_on_for_them(
    config: TrainConfig, tmp_path: Path
) -> None:
    straight = train(config, tmp_path / "one", processes=1)
    shared = train(config, tmp_path / "two", processes=2, sp_size=2, num_steps=3)
    assert read_json(tmp_path / "two/out/state/step_00000003/run.json")["micro_batches"] == 3
    shared = train(config, tmp_path / "two", processes=1)  # three steps more
    assert len(shared) == len(straight) == 6
    assert len({line["bucket"] for line in shared[:3]}) == 2
    for name in ("loss", "grad_norm", "lr"):
        expected = pytest.approx([line[name] for line in straight], rel=1e-5)
        assert [line[name] for line in shared] == expected
    compare(tmp_path / "one", tmp_path / "two")


def test_two_groups_of_two_train_as_two_workers(config: TrainConfig, tmp_path: Path) -> None:
    two = train(config, tmp_path / "two", processes=2, num_steps=3)
    four = train(config, tmp_path / "four", processes=4, sp_size=2, num_steps=3)
    for name in ("loss", "grad_norm"):
        expected = pytest.approx([line[name] for line in two], rel=1e-5)
        assert [line[name] for line in four] == expected
    compare(tmp_path / "two", tmp_path / "four")
    state = read_json(tmp_path / "four/out/state/step_00000003/run.json")
    assert state["micro_batches"] == 6
    saved = Config.fromfile(str(tmp_path / "four/out/config.py"))
    assert (saved.computed_with.workers, saved.computed_with.sp_size) == (4, 2)
