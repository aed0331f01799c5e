"""Guidance: halves at once or apart, and what is made of a text once for all steps."""

import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.models.layers.attention import CrossAttention
from opensora.models.layers.embeddings import CaptionEmbedder
from opensora.schedulers.common import size_conditions
from opensora.schedulers.guidance import GuidedModel
from opensora.schedulers.rf import RectifiedFlow

SIZES = {"num_frames": 3, "height": 32, "width": 32, "fps": 8}


def build(name):
    torch.manual_seed(0)
    tiny = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 6}
    model = build_module({"type": name, **tiny}, MODELS, model_max_length=5).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def conditions(count):
    rows = torch.Generator().manual_seed(1)
    mask = torch.arange(5)[None] < torch.arange(3, 3 + count)[:, None].clamp(max=5)
    return {"y": torch.randn(count, 1, 5, 6, generator=rows), "mask": mask.long()}


class Texts:
    def encode(self, prompts):
        return conditions(len(prompts))

    def null(self, n):
        return {"y": torch.zeros(n, 1, 5, 6)}


@pytest.mark.parametrize("name", ["STDiT", "STDiT2", "STDiT3", "PixArtMS"])
def test_what_a_model_makes_of_a_text_once_gives_the_outputs_of_each_call(name):
    model, x, t = build(name), torch.randn(2, 4, 3, 4, 4), torch.tensor([10.0, 700.0])
    sizes = size_conditions(2, **SIZES)
    y, whole = conditions(2)["y"], torch.ones(2, 5, dtype=torch.long)
    with torch.no_grad():
        assert torch.equal(
            model(x, t, model.encode_text_once(y, None), **sizes), model(x, t, y, **sizes)
        )
        for mask in (whole, conditions(2)["mask"]):
            once = model(x, t, model.encode_text_once(y, mask), **sizes)
            assert (once - model(x, t, y, mask=mask, **sizes)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["STDiT", "STDiT2", "STDiT3", "PixArt"])
def test_texts_are_projected_once_a_prompt_and_not_once_a_step(name, monkeypatch):
    model, calls = build(name), []
    for part in model.modules():
        if isinstance(part, CaptionEmbedder):
            part.register_forward_hook(lambda *_: calls.append("caption"))
        if isinstance(part, CrossAttention):
            part.kv_linear.register_forward_hook(lambda *_: calls.append("keys"))
    scheduler = RectifiedFlow(num_sampling_steps=4)
    scheduler.sample(
        *(model, Texts(), ["a", "b"], (4, 3, 4, 4), "cpu", size_conditions(2, **SIZES)),
        generator=torch.Generator().manual_seed(0),
    )
    assert calls.count("caption") == 1
    assert calls.count("keys") == len(model.all_blocks)


@pytest.mark.parametrize("masked", [False, True])
def test_halves_apart_give_what_both_at_once_give(masked):
    model, x, t = build("STDiT2"), torch.randn(2, 4, 3, 4, 4), torch.tensor([10.0, 700.0])
    given = {**conditions(2), **size_conditions(2, **SIZES)}
    x_mask = torch.tensor([[True, False, True], [True, True, True]]) if masked else None
    calls = []
    model.register_forward_hook(lambda _, args, output: calls.append(len(args[0])))
    with torch.no_grad():
        whole, apart = (
            GuidedModel(model, given, 4.0, Texts().null(2), apart=apart)(
                x, t, x_mask=x_mask, channels=3, variance=True
            )
            for apart in (False, True)
        )
    assert calls == [4, 2, 2]
    assert whole.shape == apart.shape == (2, 8, 3, 4, 4)
    assert (whole - apart).abs().max() < 1e-4
