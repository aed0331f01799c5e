"""Training with sequence parallelism: processes that share videos, on gloo."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from opensora.core.io import read_json
from opensora.training.config import TrainConfig
from tests.unit.training.in_processes import compare, train

pytestmark = pytest.mark.slow


@pytest.fixture
def config(make_config: Any) -> TrainConfig:
    """Micro batches of videos and of images, captions dropped and frames given."""
    made: TrainConfig = make_config(
        optimizer={"type": "adamw", "lr": 1e-3, "eps": 1e-6},
        mask_ratios={"mask_random": 0.5, "mask_no": 0.5},
        grad_clip=0.5,
    )
    return made


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
    compare(tmp_path / "one", tmp_path / "two", most=1e-5)


def test_two_groups_of_two_under_fsdp_train_as_two_under_ddp(
    config: TrainConfig, tmp_path: Path
) -> None:
    two = train(config, tmp_path / "two", processes=2, num_steps=3)
    four = train(config, tmp_path / "four", processes=4, sp_size=2, num_steps=3, plugin="fsdp")
    for name in ("loss", "grad_norm"):
        expected = pytest.approx([line[name] for line in two], rel=1e-5)
        assert [line[name] for line in four] == expected
    compare(tmp_path / "two", tmp_path / "four", most=1e-5)
    state = read_json(tmp_path / "four/out/state/step_00000003/run.json")
    assert state["micro_batches"] == 6
    saved = Config.fromfile(str(tmp_path / "four/out/config.py"))
    assert (saved.computed_with.workers, saved.computed_with.sp_size) == (4, 2)
