"""A file STOP ends a stage where it stands, with the results of a stage that reached its end."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from opensora.cli.main import main
from opensora.config.load import save_config
from opensora.core.errors import ConfigError, Stopped
from opensora.training import loop
from opensora.training.config import TrainConfig

from .conftest import interrupt_at, run
from .test_loop import assert_same_results, lines, tensors


def stop_after(monkeypatch: pytest.MonkeyPatch, config: TrainConfig, position: int) -> None:
    """Make the file while the micro batch at `position` is read."""
    train_step = loop.train_step

    def step(run, number, at, batch, **keywords):
        if at == position:
            config.stop_file.touch()
            keywords["end"] = True  # the file was looked for just before
        return train_step(run, number, at, batch, **keywords)

    monkeypatch.setattr(loop, "train_step", step)


def test_a_stage_ends_by_hand_and_trains_on_when_the_file_is_gone(
    make_config, tmp_path, monkeypatch
):
    straight = make_config(outputs=str(tmp_path / "straight"), log_every=2)
    run(straight)
    config = make_config(log_every=2)
    with monkeypatch.context() as patch:
        stop_after(patch, config, position=2)
        assert run(config).startswith("3 steps, ended by hand at step 3 of 6, loss ")
    assert lines(config)[-1]["ended_by_hand"] == "step 3 of 6"
    first = tensors(config, "ema.safetensors")
    names = ["config.py", "ema.safetensors", "metrics.jsonl", "model.safetensors", "rejected.csv"]
    assert sorted(path.name for path in Path(config.outputs).glob("*.*")) == names
    # as long as it is there nothing is trained
    assert "ended by hand at step 3 of 6" in run(config)
    again = tensors(config, "ema.safetensors")
    assert all(first[name].equal(value) for name, value in again.items())
    config.stop_file.unlink()
    run(config)
    assert_same_results(straight, config)
    assert not any("ended_by_hand" in line for line in lines(config))


def test_finish_takes_the_newest_checkpoint_of_a_run_that_was_stopped(
    make_config, tmp_path, monkeypatch, capsys
):
    config = make_config()
    fields = {name: value for name, value in vars(config).items() if name != "outputs"}
    save_config(Config(fields), tmp_path / "config.py")
    words = ["train", str(tmp_path / "config.py"), "--outputs", config.outputs, "--finish"]
    assert main(words) == 2
    assert "holds no checkpoint to end the stage at" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=1)
        with pytest.raises(Stopped):
            run(config)
    assert main(words) == 0
    assert "2 steps, ended by hand at step 2 of 6" in capsys.readouterr().out
    assert json.dumps("step 2 of 6") in (Path(config.outputs) / "metrics.jsonl").read_text()
    assert config.stop_file.is_file()


def test_a_stage_of_no_steps_has_nothing_to_end_with(make_config):
    config = make_config()
    Path(config.outputs).mkdir()
    config.stop_file.touch()
    with pytest.raises(ConfigError, match="STOP: it ends a stage at its newest checkpoint"):
        run(config)


def test_steps_between_two_lines_are_in_the_next_line_of_a_resumed_run(
    make_config, tmp_path, monkeypatch
):
    straight = make_config(outputs=str(tmp_path / "straight"), log_every=4)
    run(straight)
    config = make_config(log_every=4)
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=1)
        with pytest.raises(Stopped):
            run(config)
    run(config)
    assert_same_results(straight, config)
