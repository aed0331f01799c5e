"""`load` of a checkpoint: another run goes on where it stands, in outputs of its own."""

import logging
import shutil
from pathlib import Path

import pytest

from opensora.core.errors import CheckpointError, ConfigError, Stopped
from opensora.core.io import read_json, write_json
from opensora.training.config import TrainConfig

from .conftest import interrupt_at, make_stores, run
from .test_loop import assert_same_results, lines


@pytest.fixture
def stopped(make_config, tmp_path) -> TrainConfig:
    """A run that was stopped after three of six steps."""
    config = make_config(outputs=str(tmp_path / "stopped"), lr_decay="cosine")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, position=2)
        with pytest.raises(Stopped):
            run(config)
    return config


def test_it_ends_as_the_run_that_was_never_stopped(make_config, tmp_path, stopped, caplog):
    straight = make_config(outputs=str(tmp_path / "straight"), lr_decay="cosine")
    run(straight)
    state = stopped.state_folder
    for number, place in enumerate((state / "step_00000003", Path(stopped.outputs))):
        copy = make_config(
            outputs=str(tmp_path / f"copy{number}"), lr_decay="cosine", load=str(place)
        )
        with caplog.at_level(logging.INFO):
            run(copy)
        assert "load step=3" in caplog.text
        assert "goes on after 3 micro batches" in caplog.text
        assert_same_results(straight, copy)
    assert not (state / "step_00000006").exists()


def test_it_is_stopped_and_resumed_like_any_other(make_config, tmp_path, stopped, monkeypatch):
    straight = make_config(outputs=str(tmp_path / "straight"), lr_decay="cosine")
    run(straight)
    fields = {"lr_decay": "cosine", "load": str(stopped.state_folder)}
    copy = make_config(outputs=str(tmp_path / "copy"), **fields)
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=4)
        with pytest.raises(Stopped, match="step 5 of 6"):
            run(copy)
    run(copy)
    assert_same_results(straight, copy)


def test_another_plan_begins_at_its_first_batch_with_the_settings_given_here(
    make_config, tmp_path, stopped, caplog
):
    stores = make_stores(tmp_path / "other", seed=9)
    other = make_config(
        outputs=str(tmp_path / "other_run"),
        load=str(stopped.state_folder),
        dataset={"type": "LatentDataset", **stores},
        optimizer={"type": "muon", "lr": 0.005, "adamw_lr": 1e-3},
    )
    with caplog.at_level(logging.INFO):
        run(other)
    assert "plan='another one, from its first batch'" in caplog.text
    assert [line["step"] for line in lines(other)] == [1, 2, 3, 4, 5, 6]
    assert [line["lr"] for line in lines(other)][3:] == [0.005] * 3
    counters = read_json(other.state_folder / "step_00000006/run.json")
    assert counters["micro_batches"] == 3


def test_what_does_not_fit_is_one_sentence(make_config, tmp_path, stopped):
    load = str(stopped.state_folder)

    def starts(match: str, kind: type[Exception] = CheckpointError, **fields: object) -> None:
        with pytest.raises(kind, match=match):
            run(make_config(outputs=str(tmp_path / "no"), **{"load": load, **fields}))
        shutil.rmtree(tmp_path / "no", ignore_errors=True)

    starts("of another model", model={**stopped.model, "depth": 3})
    starts("of another optimizer", optimizer={"type": "adamw"})
    starts("step 3 is beyond step 2", num_steps=2)
    folder = stopped.state_folder / "step_00000003"
    changed = tmp_path / "elsewhere"
    shutil.copytree(folder, changed)
    fields = read_json(changed / "run.json")
    del fields["sha256"], fields["seal"]
    fields["encoders"]["vae"]["weights"] = "9999"
    write_json(changed / "run.json", fields)
    starts("trained with vae", ConfigError, load=str(changed))
    (folder / "ema.safetensors").write_bytes(bytes((folder / "ema.safetensors").stat().st_size))
    starts(r"ema\.safetensors is not what was written", load=str(folder))
    starts("no checkpoint is sound")
