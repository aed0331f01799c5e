"""Training of an open model that is killed, and goes on as if nothing had been."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_open
from tests.hostile.faults.test_stops import EVERY, Training
from tests.unit.training.conftest import TEXT_DIM

LORA = {"rank": 4, "alpha": 4, "targets": ["attn1.to_q", "attn2.to_v"]}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def training(folder: Path, wan: Path, **changes: Any) -> Training:
    model = {"type": "diffusers", "from_pretrained": str(wan)}
    scheduler = {"type": "flow-match", "shift": 5.0, "sample_method": "logit-normal"}
    fields = {"model": model, "scheduler": scheduler, "mask_ratios": {"mask_image_head": 0.5}}
    return Training(folder, 1, text_encoder="umt5", lr=1e-3, **fields, **changes)


@pytest.mark.parametrize(
    "changes", [{}, pytest.param({"lora": LORA}, marks=pytest.mark.faults)], ids=["whole", "lora"]
)
def test_a_wan_that_is_killed_between_checkpoints_ends_with_the_same_bytes(changes, tmp_path):
    wan = tiny_open.wan(tmp_path / "wan", text_channels=TEXT_DIM, patch_size=(1, 1, 1))
    straight = training(tmp_path / "straight", wan, **changes)
    straight.finish()
    killed = training(tmp_path / "killed", wan, **changes)
    process = killed.start(step_s=0.2)
    try:
        killed.wait_for_step(EVERY + 2, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert killed.steps_saved() == [EVERY]
    killed.finish()
    assert killed.weights() == straight.weights()
    assert killed.losses() == straight.losses()
