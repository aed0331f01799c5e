"""Held-out loss: the same whoever measures it, and training never notices."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from opensora.acceleration import plugins
from opensora.core.errors import ConfigError, Stopped
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.validation_plan import plan_validation
from opensora.training.config import TrainConfig
from opensora.training.watched.held_out import NAME
from tests.unit.training.conftest import interrupt_at, run
from tests.unit.training.in_processes import train
from tests.unit.training.test_loop import assert_same_results, lines


@pytest.fixture
def validation(stores: dict[str, str], tmp_path: Path) -> str:
    """A pass over some of the stored clips, and one that could not be encoded."""
    table: Any = BatchPlan(stores["plan"]).table.to_pandas()
    table = table[table["epoch"] == 0].reset_index(drop=True).iloc[:3]
    table.at[1, "ids"] = [*table.at[1, "ids"], "not_encoded"]
    path = tmp_path / "validation.parquet"
    write_plan(table, path, hash="of a test")
    return str(path)


def watched(make_config: Any, stores: dict[str, str], plan: str, **fields: Any) -> TrainConfig:
    dataset = {"type": "LatentDataset", **stores, "validation": plan}
    config: TrainConfig = make_config(dataset=dataset, **{"eval_every": 2, **fields})
    return config


def measured(found: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Step -> its held-out fields."""
    return {
        line["step"]: {name: value for name, value in line.items() if name.startswith(NAME)}
        for line in found
        if NAME in line
    }


def test_training_has_the_same_bytes_with_and_without(
    make_config, stores, validation, tmp_path, monkeypatch, caplog
):
    plain = make_config(outputs=str(tmp_path / "plain"))
    config = watched(make_config, stores, validation, outputs=str(tmp_path / "watched"))
    with caplog.at_level(logging.WARNING):
        for each in (plain, config):
            run(each)
    assert_same_results(plain, config)
    assert "held_out_missing clips=1 " in caplog.text
    curve = measured(lines(config))
    assert list(curve) == [2, 4, 6]
    values = [point[NAME] for point in curve.values()]
    assert len(set(values)) == 3
    for point in curve.values():  # each clip once in each band
        bands = point["held_out_loss_by_band"]
        assert sum(bands.values()) / len(bands) == pytest.approx(point[NAME])
        assert set(point["held_out_loss_by_bucket"]) == {"24px|2|1.00", "24px|1|0.60"}
    # a run that was stopped between two measurements has the same curve
    halves = watched(make_config, stores, validation, outputs=str(tmp_path / "halves"))
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=2)
        with pytest.raises(Stopped):
            run(halves)
    run(halves)
    assert measured(lines(halves)) == curve


def test_noise_is_that_of_the_clip_whatever_the_run(make_config, stores, validation, tmp_path):
    fields: dict[str, Any] = {"num_steps": 1, "warmup_steps": 0, "log_every": 1, "eval_every": 1}
    fields |= {"optimizer": {"type": "adamw", "lr": 1e-30}}
    found = []
    for seed in (1, 2):  # other weights, whose output starts at zero, and other noise in training
        folder = str(tmp_path / f"{seed}")
        config = watched(make_config, stores, validation, outputs=folder, seed=seed, **fields)
        run(config)
        found.append(measured(lines(config))[1][NAME])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


STILL = {"optimizer": {"type": "adamw", "lr": 1e-30}, "num_steps": 2, "warmup_steps": 0}


@pytest.mark.slow
def test_two_workers_measure_what_one_does(make_config, stores, validation, tmp_path):
    """At the same weights: the learning rate is next to nothing. Three batches for two workers."""
    config = watched(make_config, stores, validation, **STILL)
    run(config)
    one = measured(lines(config))
    for fields in ({"plugin": "fsdp"}, {"sp_size": 2}):
        two = measured(train(config, tmp_path / "two", processes=2, **fields))
        assert list(one) == list(two) == [2]
        assert two[2] == {name: _close(value) for name, value in one[2].items()}
        shutil.rmtree(tmp_path / "two")


def _close(value: Any, rel: float = 1e-5) -> Any:
    return pytest.approx(value, rel=rel)


def test_adapters_that_have_learned_nothing_measure_what_their_base_does(
    make_config, stores, validation, tmp_path
):
    base = make_config(outputs=str(tmp_path / "base"), num_steps=4)
    run(base)
    found = []
    for name, lora in (("whole", None), ("adapted", {"rank": 2, "targets": ["qkv"]})):
        fields = {**STILL, "lora": lora, "load": base.outputs, "outputs": str(tmp_path / name)}
        config = watched(make_config, stores, validation, **fields)
        run(config)
        found.append(measured(lines(config))[2])
    assert found[1] == {name: _close(value) for name, value in found[0].items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_it_is_measured_as_it_is_trained(
    make_config, stores, validation, tmp_path, monkeypatch, dtype
):
    base = make_config(outputs=str(tmp_path / "base"), num_steps=4)
    run(base)
    fields = {**STILL, "load": base.outputs}
    exact = watched(make_config, stores, validation, **fields, outputs=str(tmp_path / "exact"))
    half = watched(make_config, stores, validation, **fields, outputs=str(tmp_path / "half"))
    run(exact)
    monkeypatch.setattr(plugins, "effective_dtype", lambda name, device: dtype)
    run(half)
    one, other = (measured(lines(config))[2] for config in (exact, half))
    assert one[NAME] != other[NAME]
    assert other == {name: _close(value, 0.02) for name, value in one.items()}


@pytest.mark.parametrize("plan", [None, "empty"])
def test_without_held_out_clips_a_sentence_says_so_and_training_goes_on(
    make_config, stores, tmp_path, caplog, plan
):
    if plan is not None:
        plan = str(tmp_path / "empty.parquet")
        clips = {"id": ["a"], "num_frames": [2], "height": [24], "width": [24], "split": ["train"]}
        config = {"bucket_config": {"24px": {2: (1.0, 2)}}}
        write_plan(plan_validation(pd.DataFrame(clips), config), plan)
    config = watched(make_config, stores, plan, num_steps=2)
    with caplog.at_level(logging.WARNING):
        run(config)
    assert "held-out loss is not measured (eval_every=2): " in caplog.text
    assert measured(lines(config)) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eval_every": 3, "log_every": 2}, r"eval_every is 3; expected a multiple of log_every"),
        ({"loggers": ["tensorbord"]}, r"loggers is \['tensorbord'\]; expected a list of"),
        ({"loggers": "wandb"}, "loggers is 'wandb'"),
    ],
)
def test_what_can_not_be_meant_is_a_sentence(make_config, fields, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**fields)
