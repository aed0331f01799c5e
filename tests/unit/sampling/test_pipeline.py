"""Loading the parts of a sampling run."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from opensora.core.errors import CheckpointError, ConfigError
from opensora.sampling.pipeline import (
    check_image_size,
    load_pipeline,
    read_training_config,
    resolve_scheduler,
)
from opensora.sampling.settings import SamplingSettings


def load(config):
    return load_pipeline(config, SamplingSettings.from_config(config), "cpu")


def test_the_architecture_comes_from_the_config_beside_the_checkpoint(config):
    pipeline = load(config)
    assert type(pipeline.model).__name__ == "STDiT2"
    assert not pipeline.model.training
    assert pipeline.text_encoder.model_max_length == 24
    null = pipeline.text_encoder.null(2)
    assert torch.equal(null[1, 0], pipeline.model.y_embedder.y_embedding)
    weights = load_file(config["checkpoint"])
    for name, value in pipeline.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_sampling_uses_the_timestep_shift_of_training(config):
    scheduler = load(config).scheduler
    assert (scheduler.shift, scheduler.num_sampling_steps) == (3.0, 2)


def test_the_sampling_config_wins_over_training_and_another_type_inherits_nothing():
    training = {"type": "rflow", "shift": 5.0}
    assert resolve_scheduler({"type": "rflow", "shift": 1.0}, training)["shift"] == 1.0
    assert resolve_scheduler({"type": "iddpm"}, training) == {"type": "iddpm"}
    assert resolve_scheduler({"type": "iddpm"}, None) == {"type": "iddpm"}


def test_half_precision_reaches_every_part(config):
    pipeline = load({**config, "dtype": "bf16"})
    assert next(pipeline.model.parameters()).dtype == torch.bfloat16
    assert next(pipeline.vae.parameters()).dtype == torch.bfloat16
    assert pipeline.text_encoder.encode(["a"])["y"].dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["checkpoint", "vae", "text_encoder", "scheduler"])
def test_a_part_that_is_not_named_is_a_config_error(config, name):
    with pytest.raises(ConfigError, match=f"names no {name}"):
        load({**config, name: None})


@pytest.mark.parametrize("name", ["vae", "text_encoder"])
def test_a_part_without_weights_names_its_option(config, name):
    with pytest.raises(ConfigError, match="--" + name.replace("_", "-")):
        load({**config, name: {"type": config[name]["type"]}})


def test_a_checkpoint_that_is_missing_or_has_no_config_is_explained(config, tmp_path):
    with pytest.raises(ConfigError, match="no such checkpoint"):
        read_training_config(tmp_path / "ema.safetensors", {})
    lonely = tmp_path / "lonely" / "ema.safetensors"
    lonely.parent.mkdir()
    shutil.copy(config["checkpoint"], lonely)
    with pytest.raises(ConfigError, match=r"config\.py: no such file"):
        load({**config, "checkpoint": str(lonely)})


def test_a_whole_model_in_the_sampling_config_needs_no_config_beside(config, tmp_path):
    lonely = tmp_path / "ema.safetensors"
    shutil.copy(config["checkpoint"], lonely)
    model = {"type": "STDiT2", "from_pretrained": "start.pth"}
    assert read_training_config(lonely, model) == {"model": {"type": "STDiT2"}}


def test_weights_that_leave_the_model_at_random_are_refused(config, tmp_path, trained):
    folder = tmp_path / "broken"
    shutil.copytree(trained.checkpoint.parent, folder)
    weights = load_file(trained.checkpoint)
    del weights["final_layer.linear.weight"]
    save_file(weights, folder / "ema.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks 1 weights .*final_layer\.linear\.weight"):
        load({**config, "checkpoint": str(folder / "ema.safetensors")})


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((16, 12), None),
        ((20, 12), "height 20 is not a multiple of 8 .VAE stride 4 x patch 2.; use 16"),
        ((16, 10), "width 10 is not a multiple of 4"),
        ((4, 12), "use 8"),
    ],
)
def test_an_image_size_of_broken_patches_names_one_that_fits(config, size, words):
    settings = SamplingSettings.from_config({**config, "image_size": size})
    patches = (1, 4, 4), (1, 2, 1)
    if words is None:
        check_image_size(settings, *patches)
    else:
        with pytest.raises(ConfigError, match=words):
            check_image_size(settings, *patches)


def test_the_image_size_is_checked_against_the_loaded_parts(config):
    with pytest.raises(ConfigError, match="height 18 is not a multiple of 4"):
        load({**config, "image_size": [18, 12]})


def test_a_text_length_the_model_does_not_know_is_refused(config):
    text_encoder = {**config["text_encoder"], "model_max_length": 10}
    with pytest.raises(ConfigError, match="trained with 24"):
        load({**config, "text_encoder": text_encoder})
