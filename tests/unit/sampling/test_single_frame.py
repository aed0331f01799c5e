"""Images need no attention along time: what is left of it gives the same samples."""

import numpy as np
import pytest
import torch
from torch import nn

from opensora.config.registry import MODELS, build_module
from opensora.models.layers.attention import Attention
from opensora.models.layers.single_frame import SingleFrameAttention, join_single_frames
from opensora.sampling.batch import sample_batch
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.prompts import Prompt, requests
from opensora.sampling.settings import SamplingSettings

SIZES = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 16}
CONDITIONS = {"num_frames": 1.0, "height": 64.0, "width": 64.0, "ar": 1.0, "fps": 120.0}


def model_of(kind, **more):
    torch.manual_seed(0)
    model = build_module({"type": kind, **SIZES, "input_size": (1, 8, 8), **more}, MODELS).eval()
    for parameter in model.parameters():  # branches that begin at zero would hide everything
        nn.init.normal_(parameter, std=0.2)
    return model


def predict(model, frames):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, frames, 8, 8, generator=generator)
    y = torch.randn(2, 1, 5, 16, generator=generator)
    conditions = {name: torch.full((2,), value) for name, value in CONDITIONS.items()}
    return model(x, torch.tensor([30.0, 700.0]), y, **conditions)


def joined(model):
    return [part for part in model.modules() if isinstance(part, SingleFrameAttention)]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("STDiT", {}),
        ("STDiT2", {"qk_norm": True, "temporal_pos_embed": True}),
        ("STDiT3", {"qk_norm": True}),
    ],
)
@torch.no_grad()
def test_one_product_gives_what_attention_along_time_gives(kind, settings):
    model = model_of(kind, **settings)
    expected, spatial = predict(model, 1), sum(isinstance(m, Attention) for m in model.modules())
    join_single_frames(model, (1, 8, 8))
    assert len(joined(model)) == SIZES["depth"]
    left = sum(isinstance(part, Attention) for part in model.modules())
    assert spatial - left == SIZES["depth"], "attention within frames stays"
    torch.testing.assert_close(predict(model, 1), expected, atol=2e-4, rtol=2e-4)


@torch.no_grad()
def test_videos_keep_attention_along_time():
    model = model_of("STDiT2")
    expected = predict(model, 3)
    join_single_frames(model, (3, 8, 8))
    assert not joined(model)
    assert torch.equal(predict(model, 3), expected)


def test_frames_that_share_a_patch_are_one_frame():
    model = model_of("STDiT2", patch_size=(2, 2, 2))
    join_single_frames(model, (2, 8, 8))
    assert len(joined(model)) == SIZES["depth"]


def test_models_without_attention_along_time_stay_as_they_are():
    model = model_of("PixArt")
    parts = list(model.modules())
    join_single_frames(model, (1, 8, 8))
    assert list(model.modules()) == parts


def test_sampled_images_are_those_of_attention_within_one_level(config, monkeypatch):
    images = {**config, "num_frames": 1}
    settings = SamplingSettings.from_config(images)
    wanted = requests([Prompt("a"), Prompt("b")], 1)
    pipeline = load_pipeline(images, settings, "cpu")
    assert joined(pipeline.model)
    ours = sample_batch(pipeline, wanted, settings)
    monkeypatch.setattr("opensora.sampling.pipeline.join_single_frames", lambda *given: None)
    plain = sample_batch(load_pipeline(images, settings, "cpu"), wanted, settings)
    for one, other in zip(ours, plain, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
