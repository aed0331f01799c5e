"""Training adapters: the base stays, checkpoints are small, results are whole or separate."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from opensora.acceleration.workers import worker_group
from opensora.config.load import save_config
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError, ConfigError, Stopped
from opensora.core.io import read_json
from opensora.models.lora.merge import apply_adapters, read_adapters
from opensora.training.config import TrainConfig
from opensora.training.start import prepare_run
from tests import forked

from .conftest import interrupt_at, run
from .test_loop import assert_same_results, losses, tensors

LORA = {"rank": 4, "targets": ["qkv", "mlp.fc1"], "modules_to_save": ["scale_shift_table"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for the outputs of a training of whole weights."""
    return tmp_path_factory.mktemp("base") / "out"


@pytest.fixture
def make_lora(make_config: Callable[..., TrainConfig], base: Path) -> Callable[..., TrainConfig]:
    """Configs that adapt the weights of a training, which the first one does."""
    if not (base / "ema.safetensors").exists():
        run(make_config(outputs=str(base), num_steps=4))

    def make(**fields: Any) -> TrainConfig:
        optimizer = {"type": "adamw", "lr": 1e-2}
        return make_config(**{"lora": LORA, "load": str(base), "optimizer": optimizer, **fields})

    return make


def test_results_are_whole_weights_and_the_adapters_that_make_them_of_the_base(make_lora, base):
    config = make_lora()
    run(config)
    before, after = load_file(base / "ema.safetensors"), tensors(config, "ema.safetensors")
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        name
        for name in before
        if name.endswith((".qkv.weight", "mlp.fc1.weight")) or name.endswith("scale_shift_table")
    }
    saved = TrainConfig.__dataclass_fields__  # a config beside the weights that sampling reads
    assert "lora" in saved
    model = build_module(model_fields(config), MODELS)
    model.load_state_dict(before)
    apply_adapters(model, Path(config.outputs) / "lora.safetensors")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, after[name], rtol=0, atol=1e-6)
    whole = tensors(config, "model.safetensors")
    assert not torch.equal(whole["blocks.0.attn.qkv.weight"], after["blocks.0.attn.qkv.weight"])


def model_fields(config: TrainConfig) -> dict[str, Any]:
    from opensora.config.load import read_saved_config

    fields: dict[str, Any] = read_saved_config(Path(config.outputs) / "config.py")["model"]
    return fields


def test_checkpoints_hold_adapters_alone_and_the_base_is_kept_once(make_lora, base):
    config = make_lora(ckpt_every=2)
    run(config)
    names = set(read_adapters(Path(config.outputs) / "lora.safetensors").tensors)
    folders = sorted(config.state_folder.glob("step_*"))
    assert len(folders) == 2
    for folder in folders:
        for name in ("model.safetensors", "ema.safetensors"):
            assert set(load_file(folder / name)) == names
        moments = load_file(folder / "optimizer.safetensors")
        assert sum(name.startswith("step.") for name in moments) == len(names)
    kept = load_file(config.state_folder / "base.safetensors")
    before = load_file(base / "ema.safetensors")
    assert kept.keys() == before.keys()
    assert all(torch.equal(kept[name], before[name]) for name in kept)


def test_the_first_loss_is_that_of_the_base_and_training_lowers_it(make_lora, make_config, base):
    config = make_lora(num_steps=6)
    run(config)
    whole = make_config(outputs=f"{config.outputs}_whole", load=str(base), num_steps=1)
    run(whole)
    assert losses(config)[0][1] == pytest.approx(losses(whole)[0][1], rel=1e-6)


def test_a_stopped_and_resumed_run_equals_a_straight_one_bit_for_bit(
    make_lora, tmp_path, monkeypatch
):
    straight = make_lora(outputs=str(tmp_path / "straight"))
    run(straight)
    halves = make_lora(outputs=str(tmp_path / "halves"), num_workers=0)
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=2)
        with pytest.raises(Stopped, match="step 3 of 6"):
            run(halves)
    with pytest.raises(CheckpointError, match="unfinished run is of another recipe"):
        run(make_lora(outputs=str(tmp_path / "halves"), lora={**LORA, "rank": 5}))
    run(halves)
    assert_same_results(straight, halves)
    one, other = (Path(c.outputs, "lora.safetensors").read_bytes() for c in (straight, halves))
    assert one == other


def test_a_part_of_a_stage_goes_on_from_the_adapters_of_the_one_before(make_lora, tmp_path):
    straight = make_lora(outputs=str(tmp_path / "straight"))
    run(straight)
    part = make_lora(outputs=str(tmp_path / "part"), until=3)
    run(part)
    rest = make_lora(outputs=str(tmp_path / "rest"), load=str(part.state_folder))
    run(rest)
    assert_same_results(straight, rest)


def test_separate_output_is_the_adapters_alone(make_lora, tmp_path):
    merged = make_lora(outputs=str(tmp_path / "merged"))
    run(merged)
    config = make_lora(outputs=str(tmp_path / "alone"), lora={**LORA, "output": "separate"})
    run(config)
    assert not list(Path(config.outputs).glob("[em]*.safetensors"))
    one, other = (read_adapters(Path(c.outputs, "lora.safetensors")) for c in (merged, config))
    assert one.base == other.base
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_adapters_of_a_run_before_do_not_stay_beside_whole_weights(make_lora, make_config):
    config = make_lora(num_steps=1)
    run(config)
    assert Path(config.outputs, "lora.safetensors").exists()
    run(make_config(outputs=config.outputs, num_steps=1))
    assert not Path(config.outputs, "lora.safetensors").exists()


def test_the_next_stage_starts_from_the_merged_weights(make_lora, make_config, tmp_path):
    config = make_lora(num_steps=2)
    run(config)
    later = make_config(outputs=str(tmp_path / "later"), load=config.outputs, num_steps=1)
    with worker_group() as workers:
        weights = prepare_run(later, workers).engine.module.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in tensors(config, "ema.safetensors").items())


def test_a_base_that_has_changed_or_gone_ends_the_resumption(make_lora):
    run(make_lora(until=2))
    config = make_lora()
    kept = config.state_folder / "base.safetensors"
    weights = load_file(kept)
    weights["blocks.0.attn.qkv.weight"][0, 0] += 1
    save_file(weights, kept)
    with pytest.raises(CheckpointError, match=r"base.safetensors: is not what was written"):
        run(config)
    kept.unlink()
    with pytest.raises(CheckpointError, match=r"base.safetensors: is missing"):
        run(config)


def test_checkpoints_of_whole_weights_are_no_adapters(make_lora, make_config, tmp_path, base):
    with pytest.raises(CheckpointError, match="was trained without `lora`; give its weights alone"):
        run(make_lora(load=str(base / "state")))
    config = make_lora(outputs=str(tmp_path / "adapters"), num_steps=1)
    run(config)
    whole = make_config(outputs=str(tmp_path / "whole"), load=str(config.state_folder))
    with pytest.raises(CheckpointError, match="the checkpoint is of another model"):
        run(whole)


def test_lora_needs_weights_and_fields_and_names_that_are_there(make_config, make_lora):
    with pytest.raises(ConfigError, match="lora adapts weights that are there and none are given"):
        make_config(lora=LORA)
    with pytest.raises(ConfigError, match=r"lora.rank is 0"):
        make_lora(lora={**LORA, "rank": 0})
    with pytest.raises(ConfigError, match="plugin 'fsdp' splits the weights that adapters sit on"):
        make_lora(plugin="fsdp")
    with pytest.raises(ConfigError, match="no linear layer 'qvk'; did you mean 'qkv'"):
        run(make_lora(lora={**LORA, "targets": ["qvk"]}))


KILLED = """
import os, signal, sys
from opensora.training import loop
step = loop.train_step
def killing(run, number, *rest, **more):
    if number == 3 and not os.environ.get("SURVIVE"):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(run, number, *rest, **more)
loop.train_step = killing
from opensora.cli.main import entry
sys.argv = ["opensora", *sys.argv[1:]]
sys.exit(entry())
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(make_lora, tmp_path):
    configs = {
        name: make_lora(outputs=str(tmp_path / name), ckpt_every=1, num_steps=5, accumulate=2)
        for name in ("straight", "killed")
    }
    save = {k: v for k, v in vars(configs["straight"]).items() if k != "outputs"}
    save_config(save, tmp_path / "config.py")
    (tmp_path / "run.py").write_text(KILLED)

    def train(name: str, **environment: str) -> int:
        words = ["train", str(tmp_path / "config.py"), "--outputs", configs[name].outputs]
        place = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        command = [sys.executable, str(tmp_path / "run.py"), *words]
        return subprocess.run(command, env=place, timeout=300, check=False).returncode

    assert train("straight", SURVIVE="1") == 0
    assert train("killed") == -signal.SIGKILL
    newest = max(configs["killed"].state_folder.glob("step_*"))
    assert read_json(newest / "run.json")["step"] in (2, 3)  # the third may not be written yet
    assert train("killed", SURVIVE="1") == 0
    assert_same_results(configs["straight"], configs["killed"])


@pytest.mark.slow
def test_two_workers_train_the_adapters_of_one(make_lora, tmp_path):
    fields = {"optimizer": {"type": "adamw", "lr": 1.0, "eps": 1.0}, "num_steps": 3}
    fields |= {"grad_clip": None, "warmup_steps": 0}
    one = make_lora(**fields, accumulate=4, outputs=str(tmp_path / "one"))
    run(one)
    two = make_lora(**fields, accumulate=2, outputs=str(tmp_path / "two"))
    save_config({k: v for k, v in vars(two).items() if k != "outputs"}, tmp_path / "config.py")
    words = ["train", str(tmp_path / "config.py"), "--outputs", two.outputs, "--processes", "2"]
    done = forked.run("opensora.cli.main", *words, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    found = read_adapters(Path(two.outputs, "lora.safetensors"))
    expected = read_adapters(Path(one.outputs, "lora.safetensors"))
    assert found.base == expected.base
    for name, value in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name], value, rtol=1e-6, atol=1e-6)
    assert max(float(v.abs().max()) for k, v in expected.tensors.items() if "lora_B" in k) > 1e-4


def test_what_is_trained_is_said(make_lora, caplog):
    caplog.set_level("INFO")
    config = make_lora(num_steps=1)
    run(config)
    (line,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("lora ")]
    assert line.startswith("lora layers=6 trained=")
    assert json.loads(Path(config.outputs, "metrics.jsonl").read_text())["step"] == 1
