"""FSDP trains as DDP does, goes on from its checkpoints and hands them back; on gloo."""

from pathlib import Path
from typing import Any

import pytest

from opensora.training.config import TrainConfig
from tests.unit.training.in_processes import compare, train

pytestmark = pytest.mark.slow


@pytest.fixture
def config(make_config: Any) -> TrainConfig:
    """Videos and images, captions dropped, frames given, gradients clipped."""
    made: TrainConfig = make_config(
        optimizer={"type": "adamw", "lr": 1e-3, "eps": 1e-6, "weight_decay": 0.1},
        mask_ratios={"mask_random": 0.5, "mask_no": 0.5},
        grad_clip=0.5,
        grad_checkpoint=True,
    )
    return made


def test_ddp_to_fsdp_to_ddp_is_ddp_all_the_way(config: TrainConfig, tmp_path: Path) -> None:
    straight = train(config, tmp_path / "straight", processes=2)
    names = [("first", "ddp"), ("second", "fsdp"), ("third", "ddp")]
    load = None
    for part, (name, plugin) in enumerate(names, start=1):
        end = {"until": 2 * part} if part < len(names) else {}
        lines = train(config, tmp_path / name, processes=2, plugin=plugin, load=load, **end)
        load = str(tmp_path / name / "out/state")
    assert len(lines) == len(straight) == 6
    for name in ("loss", "grad_norm", "lr"):
        expected = pytest.approx([line[name] for line in straight], rel=1e-5)
        assert [line[name] for line in lines] == expected
    compare(tmp_path / "straight", tmp_path / "third", most=1e-6)
