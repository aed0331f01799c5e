"""Loading the parts of a sampling run."""

import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from opensora.config.load import read_saved_config, save_config
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import sha256_file, write_json
from opensora.sampling.checkpoint import find_trained_model
from opensora.sampling.checks import warn_unseen_size
from opensora.sampling.pipeline import (
    build_text_encoder,
    choose_dtype,
    load_pipeline,
    resolve_scheduler,
)
from opensora.sampling.settings import SamplingSettings

CPU = torch.device("cpu")


def load(config):
    return load_pipeline(config, SamplingSettings.from_config(config), "cpu")


def test_the_architecture_comes_from_the_config_beside_the_checkpoint(config, trained):
    pipeline = load(config)
    assert type(pipeline.model).__name__ == "STDiT2"
    assert not pipeline.model.training
    assert pipeline.text_encoder.model_max_length == 24
    null = pipeline.text_encoder.null(2)["y"]
    assert torch.equal(null[1, 0], pipeline.model.y_embedder.y_embedding)
    weights = load_file(trained.checkpoint)
    for name, value in pipeline.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_folder_of_results_means_its_averaged_weights(config, trained):
    folder = {**config, "model": {"from_pretrained": str(trained.checkpoint.parent)}}
    pipeline = load(folder)
    assert pipeline.identity["checkpoint_sha256"] == sha256_file(trained.checkpoint)
    assert pipeline.identity["model"] == load(config).identity["model"]
    assert pipeline.trained_here


def test_weights_in_several_files_are_one_checkpoint(config, trained, tmp_path):
    weights = load_file(trained.checkpoint)
    names = sorted(weights)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({name: weights[name] for name in part}, tmp_path / file)
    places = {name: file for file, part in files.items() for name in part}
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": places})
    shutil.copy(trained.checkpoint.parent / "config.py", tmp_path)
    pipeline = load({**config, "model": {"from_pretrained": str(tmp_path)}})
    for name, value in pipeline.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_weights_of_a_variant_under_names_with_wrappers_are_sampled_from(config, trained, tmp_path):
    weights = load_file(trained.checkpoint)
    half = {f"_fsdp_wrapped_module.{name}": value.half() for name, value in weights.items()}
    save_file(half, tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    shutil.copy(trained.checkpoint.parent / "config.py", tmp_path)
    pipeline = load({**config, "model": {"from_pretrained": str(tmp_path)}})
    for name, value in pipeline.model.state_dict().items():
        torch.testing.assert_close(value, weights[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["stdit", "dit", "latte", "pixart"])
def test_a_whole_model_in_the_config_needs_none_beside_its_weights(other_config, trained, name):
    config = other_config(name)
    pipeline = load(config)
    assert not pipeline.trained_here
    weights = torch.load(trained.root / name / "model.pt", weights_only=True)["ema"]
    for key, value in pipeline.model.named_parameters():
        assert torch.equal(value, weights[key]), key
    # sizes come from the other parts: latents of the image size, texts of the encoder
    assert pipeline.model.input_grid == (config["num_frames"], 4, 3)
    assert pipeline.model.in_channels == 4


def test_classes_are_as_many_as_the_model_knows(other_config):
    config = other_config("dit", text_encoder={"type": "classes"})
    assert load(config).text_encoder.num_classes == 10


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("dit", {"text_encoder": {"type": "classes", "num_classes": 7}}, "is 7 but .* knows 10"),
        ("pixart", {"text_encoder": {"type": "classes"}}, "has no num_classes"),
        (
            *("pixart", {"text_encoder": {"type": "classes", "num_classes": 10}}),
            "PixArtMS is not conditioned by text_encoder.type 'classes'; use 't5'",
        ),
        ("dit", {"multi_resolution": "STDiT2"}, "'STDiT2' but the model is a DiT; drop it"),
        ("pixart", {"multi_resolution": "STDiT2"}, "is a PixArtMS; use 'PixArtMS'"),
        ("stdit", {"scheduler": {"type": "iddpm", "learn_sigma": False}}, "learn_sigma to True"),
        ("stdit", {"image_size": [12, 30]}, "width 30 is not a multiple of 4"),
        ("stdit", {"dtype": "fp16"}, "'fp16' needs a GPU"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(other_config, name, changes, words):
    with pytest.raises(ConfigError, match=words):
        load(other_config(name, **changes))


def test_texts_do_not_condition_a_model_of_classes(other_config, config):
    with pytest.raises(ConfigError, match="type 't5'; use 'classes'"):
        load(other_config("latte", text_encoder=config["text_encoder"]))


def test_a_multi_resolution_that_fits_is_accepted(config, other_config):
    load({**config, "multi_resolution": "STDiT2"})
    load(other_config("pixart", multi_resolution="PixArtMS"))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("in_channels", 8, "in_channels 8 but the VAE has 4"),
        ("caption_channels", 32, "caption_channels 32 but the text encoder gives 16"),
    ],
)
def test_a_model_made_for_other_parts_is_refused(config, field, value, words):
    with pytest.raises(ConfigError, match=words):
        load({**config, "model": {**config["model"], field: value}})


def test_a_field_that_the_model_can_not_have_is_a_config_error(config):
    with pytest.raises(ConfigError, match=r"model: .* used: hidden_size 26 is not divisible"):
        load({**config, "model": {**config["model"], "hidden_size": 26}})


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


def test_t5_stays_out_of_float16(config):
    assert choose_dtype("fp16", torch.device("cuda")) == torch.float16
    encoder = build_text_encoder(config["text_encoder"], {}, torch.float16, CPU)
    assert encoder.network.dtype == torch.float32
    assert encoder.model_max_length == 120  # the model says nothing


def test_prompts_are_as_long_as_captions_were_where_the_model_says_nothing(
    config, trained, tmp_path
):
    # Wan reads the padding: of captions padded to 64 it makes other videos than of 512
    saved = read_saved_config(trained.checkpoint.parent / "config.py")
    saved["model"] = {k: v for k, v in saved["model"].items() if k != "model_max_length"}
    saved["encoders"] = {"text_encoder": {"type": "t5", "model_max_length": 24}}
    shutil.copy(trained.checkpoint, tmp_path)
    save_config(saved, tmp_path / "config.py")
    named = {**config, "model": {"from_pretrained": str(tmp_path / trained.checkpoint.name)}}
    assert find_trained_model(named["model"]).trained_texts() == {"model_max_length": 24}
    pipeline = load(named)
    assert pipeline.text_encoder.model_max_length == 24
    assert pipeline.identity["model"]["model_max_length"] == 24  # other samples of another length
    del saved["encoders"]
    save_config(saved, tmp_path / "config.py")
    assert find_trained_model(named["model"]).trained_texts() == {}


@pytest.mark.parametrize("name", ["vae", "text_encoder", "scheduler"])
def test_a_part_that_is_not_named_is_a_config_error(config, name):
    with pytest.raises(ConfigError, match=f"names no {name}"):
        load({**config, name: None})


@pytest.mark.parametrize("name", ["vae", "text_encoder"])
def test_a_part_without_weights_names_its_option(config, name):
    with pytest.raises(ConfigError, match="--" + name.replace("_", "-")):
        load({**config, name: {"type": config[name]["type"]}})


def test_a_checkpoint_that_is_not_there_or_unknown_is_explained(config, trained, tmp_path):
    for missing in (None, {}, {"type": "STDiT2"}):
        with pytest.raises(ConfigError, match=r"names no checkpoint; .*--ckpt-path"):
            find_trained_model(missing)
    with pytest.raises(CheckpointError, match=r"ema\.safetensors: no such file"):
        find_trained_model({"from_pretrained": str(tmp_path / "ema.safetensors")})
    lonely = tmp_path / "lonely" / "ema.safetensors"
    lonely.parent.mkdir()
    shutil.copy(trained.checkpoint, lonely)
    with pytest.raises(ConfigError, match=r"config\.py: no such file"):
        find_trained_model({"from_pretrained": str(lonely)})
    save_config({"model": {"depth": 1}}, lonely.parent / "config.py")
    with pytest.raises(ConfigError, match="model has no type"):
        find_trained_model({"from_pretrained": str(lonely)})


def test_code_beside_weights_never_runs(trained, tmp_path):
    canary = tmp_path / "canary"
    shutil.copy(trained.checkpoint, tmp_path)
    (tmp_path / "config.py").write_text(f"open({str(canary)!r}, 'w')\nmodel = {{'type': 'DiT'}}\n")
    with pytest.raises(ConfigError, match=r"config\.py: line 1 is no plain literal"):
        find_trained_model({"from_pretrained": str(tmp_path)})
    assert not canary.exists()


def test_the_sampling_config_changes_the_model_of_training(trained):
    same = find_trained_model({"from_pretrained": str(trained.checkpoint), "input_sq_size": 64})
    assert (same.model["input_sq_size"], same.model["hidden_size"]) == (64, 24)
    other = find_trained_model(
        {"from_pretrained": str(trained.checkpoint), "type": "DiT", "depth": 3}
    )
    assert other.model == {"type": "DiT", "depth": 3}  # nothing of an STDiT2 fits a DiT
    assert other.training == {}


def test_weights_of_another_model_are_refused(config, trained, other_config):
    weights = str(trained.root / "dit" / "model.pt")
    with pytest.raises(CheckpointError, match="DiT"):
        load({**config, "model": {**other_config("stdit")["model"], "from_pretrained": weights}})


def test_weights_that_leave_the_model_at_random_are_refused(config, tmp_path, trained):
    folder = tmp_path / "broken"
    shutil.copytree(trained.checkpoint.parent, folder)
    weights = load_file(trained.checkpoint)
    del weights["final_layer.linear.weight"]
    save_file(weights, folder / "ema.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks 1 weights .*final_layer\.linear\.weight"):
        load({**config, "model": {"from_pretrained": str(folder)}})


def test_weights_of_which_a_part_would_not_be_used_are_refused(config, tmp_path, trained):
    folder = tmp_path / "more"
    shutil.copytree(trained.checkpoint.parent, folder)
    weights = load_file(trained.checkpoint)
    extra = {"adapter.weight": torch.ones(2)}
    save_file({**weights, **extra}, folder / "ema.safetensors")
    with pytest.raises(CheckpointError, match=r"1 of its weights .*first: adapter\.weight"):
        load({**config, "model": {"from_pretrained": str(folder)}})
    # what wrappers and averages leave is none of it
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    save_file({**wrapped, "step": torch.tensor(3)}, folder / "ema.safetensors")
    load({**config, "model": {"from_pretrained": str(folder)}})


def test_a_text_length_the_model_does_not_know_is_refused(config):
    text_encoder = {**config["text_encoder"], "model_max_length": 10}
    with pytest.raises(ConfigError, match=r"model_max_length 24 but .* is 10"):
        load({**config, "text_encoder": text_encoder})


@pytest.mark.parametrize("size", [[18, 12], [2, 12], [16, 10]])
def test_an_image_size_of_broken_patches_names_one_that_fits(config, size):
    side = "height 18" if size[0] == 18 else "height 2" if size[0] == 2 else "width 10"
    fits = {"height 18": 16, "height 2": 4, "width 10": 8}[side]
    with pytest.raises(ConfigError, match=rf"{side} is not a multiple of 4 .* use {fits}\."):
        load({**config, "image_size": size})


def test_bucket_sizes_fit_models_that_are_told_their_size(config, other_config):
    size = [117, 312]  # 144p at 0.38: neither divides into patches of 4 pixels
    load({**config, "image_size": size})
    with pytest.raises(ConfigError, match="height 117 is not a multiple of 4"):
        load(other_config("stdit", image_size=size))


def warnings_of(caplog, buckets, **sizes):
    settings = SamplingSettings(fps=8, save_dir="out", **sizes)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        warn_unseen_size({"bucket_config": buckets} if buckets else {}, settings)
    return [record.getMessage() for record in caplog.records]


def test_a_size_that_training_never_saw_is_told_in_one_line(caplog):
    buckets = {"24px": {16: (1.0, 2), 8: (0.0, None)}, "32px": {1: (1.0, 2)}}
    assert not warnings_of(caplog, buckets, num_frames=16, image_size=(24, 24))
    assert not warnings_of(caplog, buckets, num_frames=16, image_size=(20, 32))
    assert not warnings_of(caplog, buckets, num_frames=1, image_size=(32, 32))
    assert not warnings_of(caplog, None, num_frames=1, image_size=(32, 32))
    for frames, size in ((16, (32, 32)), (8, (24, 24)), (16, (28, 28))):
        (line,) = warnings_of(caplog, buckets, num_frames=frames, image_size=size)
        assert f"num_frames={frames} image_size={size[0]}x{size[1]} was never seen" in line
        assert line.endswith("which had 32px:1, 24px:16")


def test_models_are_told_the_rate_that_their_training_told_them(config, other_config):
    rates = {"fps": 24, "frame_interval": 3}
    here = SamplingSettings.from_config({**config, **rates})
    assert load(config).condition_fps(here) == 8
    assert load(other_config("stdit")).condition_fps(here) == 24
    image = SamplingSettings.from_config({**config, **rates, "num_frames": 1})
    assert load(config).condition_fps(image) == 120
