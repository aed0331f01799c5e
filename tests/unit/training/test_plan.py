"""A run that is resumed after its data set or its plan changed."""

import json
import logging
from pathlib import Path

import pyarrow as pa
import pytest

from opensora.acceleration.workers import worker_group
from opensora.core.errors import CheckpointError, ConfigError, Stopped
from opensora.plans.compile import BatchPlan
from opensora.training.config import TrainConfig
from opensora.training.plan import choose_plan

from .conftest import interrupt_at, make_stores, run

NAMES = ["epoch", "bucket", "ids"]
PER_EPOCH = 8  # micro batches of eight clips and eight images by twos


def entries(path: str | Path) -> list[tuple[int, str, list[str]]]:
    table: pa.Table = BatchPlan(path).table
    return [tuple(row[name] for name in NAMES) for row in table.to_pylist()]


def losses(config: TrainConfig) -> list[float]:
    text = (Path(config.outputs) / "metrics.jsonl").read_text()
    return [json.loads(line)["loss"] for line in text.splitlines()]


def stop_at(config: TrainConfig, position: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, position)
        with pytest.raises(Stopped):
            run(config)


@pytest.fixture
def resume(make_config, tmp_path):
    """Stop a run after three steps and make the config of the same run with other stores."""
    stop_at(make_config(num_steps=None), position=2)

    def other(name: str = "other", **changes: int) -> TrainConfig:
        stores = make_stores(tmp_path / name, **changes)
        return make_config(dataset={"type": "LatentDataset", **stores}, num_steps=20)

    return other


def test_new_clips_come_in_with_the_next_epoch(make_config, resume, tmp_path, stores, caplog):
    grown = resume(num_clips=10)
    with caplog.at_level(logging.INFO):
        run(grown)
    assert "plan continued new_clips=4 from_epoch=1 from_micro_batch=8" in caplog.text
    before, after = entries(stores["plan"]), entries(grown.dataset["plan"])
    replayed = entries(grown.state_folder / "plan.parquet")
    assert replayed[:PER_EPOCH] == before[:PER_EPOCH]
    assert replayed[PER_EPOCH:] == [entry for entry in after if entry[0] > 0]
    # the rest of the first epoch is that of a run which was never stopped
    straight = make_config(outputs=str(tmp_path / "straight"), num_steps=PER_EPOCH)
    run(straight)
    assert losses(grown)[:PER_EPOCH] == losses(straight)
    # once continued, a plan is kept: the same command again has nothing left to do
    run(grown)
    assert entries(grown.state_folder / "plan.parquet") == replayed
    assert len(losses(grown)) == 20


def test_a_run_that_grew_can_be_stopped_again_and_grow_again(resume):
    stop_at(resume("ten", num_clips=10), position=PER_EPOCH + 1)
    twelve = resume("twelve", num_clips=12)
    run(twelve)
    replayed = entries(twelve.state_folder / "plan.parquet")
    assert [entry[0] for entry in replayed].count(0) == PER_EPOCH
    assert [entry[0] for entry in replayed].count(1) == 10  # begun with ten clips a cell
    assert [entry[0] for entry in replayed].count(2) == 12


def test_a_stop_before_the_first_checkpoint_of_the_continued_plan_loses_nothing(resume):
    grown = resume(num_clips=10)
    with worker_group() as workers:
        choose_plan(grown, workers)  # and then the power fails
    run(grown)
    assert len(losses(grown)) == 20


def test_clips_that_are_gone_stop_the_run_with_the_choices(resume):
    with pytest.raises(CheckpointError, match=r"lacks 4 of its clips \(first '1_6'\)") as error:
        run(resume(num_clips=6))
    for choice in ("--dataset.plan", "start afresh", "--load"):
        assert choice in str(error.value)
    assert "\n" not in str(error.value)


def test_another_order_stops_the_run_and_the_former_plan_may_be_named(resume, make_config, stores):
    other = resume(seed=9)
    with pytest.raises(CheckpointError, match="has the same clips in another order"):
        run(other)
    kept = str(other.state_folder / "plan.parquet")
    assert entries(kept) == entries(stores["plan"])
    run(make_config(dataset={**other.dataset, "plan": kept}, num_steps=5))


def test_a_plan_that_ends_before_the_checkpoint_is_refused(make_config, tmp_path, stores):
    stop_at(make_config(num_steps=None), position=PER_EPOCH + 3)
    short = make_stores(tmp_path / "short", epochs=1)
    ended = make_config(dataset={"type": "LatentDataset", **short}, num_steps=None)
    with pytest.raises(CheckpointError, match="ends after 8 micro batches, of which 12 are tr"):
        run(ended)
    # with the former plan it goes on as if nothing had been
    run(make_config(num_steps=20))
    assert entries(ended.state_folder / "plan.parquet") == entries(stores["plan"])


def test_more_epochs_of_the_same_plan_take_its_place(resume, stores):
    longer = resume(epochs=6)
    run(longer)
    replayed = entries(longer.state_folder / "plan.parquet")
    assert len(replayed) == 6 * PER_EPOCH
    assert replayed[: 4 * PER_EPOCH] == entries(stores["plan"])


def test_a_plan_balanced_for_other_processes_is_not_needed_to_go_on(resume, stores, caplog):
    redealt = resume(world_size=2, balance=True)
    assert sorted(BatchPlan(redealt.dataset["plan"]).items()["id"]) == sorted(
        BatchPlan(stores["plan"]).items()["id"]
    )
    with caplog.at_level(logging.INFO):
        run(redealt)
    assert "plan kept" in caplog.text
    assert entries(redealt.state_folder / "plan.parquet") == entries(stores["plan"])


def test_a_finished_run_goes_on_when_its_plan_got_longer(make_config, tmp_path, stores):
    short = make_stores(tmp_path / "short", epochs=1)
    run(make_config(dataset={"type": "LatentDataset", **short}, num_steps=3))
    longer = make_config(dataset={"type": "LatentDataset", **stores}, num_steps=12)
    run(longer)
    straight = make_config(outputs=str(tmp_path / "straight"), num_steps=12)
    run(straight)
    assert losses(longer) == losses(straight)
    lines = (Path(longer.outputs) / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[2])["seconds"] <= json.loads(lines[3])["seconds"]  # not run anew


def test_a_finished_run_begins_anew_with_new_clips(make_config, tmp_path):
    run(make_config(num_steps=3))
    stores = make_stores(tmp_path / "other", num_clips=10)
    changed = make_config(dataset={"type": "LatentDataset", **stores}, num_steps=3)
    run(changed)
    fresh = make_config(outputs=str(tmp_path / "fresh"), dataset=changed.dataset, num_steps=3)
    run(fresh)
    assert losses(changed) == losses(fresh)
    assert entries(changed.state_folder / "plan.parquet") == entries(stores["plan"])


def test_another_recipe_after_the_data_grew_is_refused_not_mixed(resume, make_config):
    grown = resume(num_clips=10)
    run(grown)
    with pytest.raises(CheckpointError, match=r"a finished run whose data grew is of another rec"):
        run(make_config(dataset=grown.dataset, num_steps=20, seed=7))


def test_a_plan_that_ends_before_num_steps_is_refused(make_config):
    with pytest.raises(ConfigError, match=r"num_steps is 33 and dataset.plan holds 32 micro batch"):
        run(make_config(num_steps=33))
