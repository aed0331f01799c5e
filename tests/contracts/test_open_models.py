"""Open models against diffusers' own pipelines, tiny and random; a new family is one row."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.models.build import build_autoencoder
from opensora.plans.budget.cost import model_cost
from opensora.plans.budget.memory import Setup, token_bytes
from tests import tiny_open

PROMPTS = ["a red ball", "two blue cubes roll"]
FRAMES, SIDE, LENGTH = 5, 32, 32


@dataclass(frozen=True)
class Family:
    """What the contract needs to know of a family."""

    make: Any
    pipeline: str
    text_encoder: str
    scheduler: dict[str, Any]


FLOW = {"type": "flow-match", "solver": "unipc"}
FAMILIES = {
    "wan": Family(tiny_open.wan, "WanPipeline", "umt5", {**FLOW, "shift": 3.0}),
    "wan-2.2-5b": Family(tiny_open.wan_2_2, "WanPipeline", "umt5", {**FLOW, "shift": 5.0}),
}
EACH = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(name="folders", scope="module")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("open")
    return {name: family.make(root / name) for name, family in FAMILIES.items()}


def official(folders: dict[str, Path], name: str) -> Any:
    pipeline = getattr(diffusers, FAMILIES[name].pipeline).from_pretrained(folders[name])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def ours(folders: dict[str, Path], name: str) -> Any:
    return build_module({"type": "diffusers", "from_pretrained": str(folders[name])}, MODELS)


def reader(folders: dict[str, Path], name: str) -> Any:
    fields = {"type": FAMILIES[name].text_encoder, "from_pretrained": str(folders[name])}
    return build_module({**fields, "model_max_length": LENGTH}, MODELS)


def noised(side: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    latents, noise = torch.randn(2, 2, tiny_open.CHANNELS, 2, side, side, generator=generator)
    text = torch.randn(2, LENGTH, tiny_open.TEXT_CHANNELS, generator=generator)
    return latents, noise, text


@EACH
def test_latents_are_those_of_the_pipelines_autoencoder(folders, name):
    videos = (
        torch.rand(1, 3, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    )
    vae = build_autoencoder({"from_pretrained": str(folders[name])})
    network = official(folders, name).vae
    with torch.no_grad():
        raw = network.encode(videos).latent_dist.mode()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (tiny_open.MEAN, tiny_open.STD))
    expected = (raw - mean) / std
    torch.testing.assert_close(vae.encode(videos, posterior="mean"), expected, atol=1e-5, rtol=1e-5)
    assert vae.get_latent_size((FRAMES, SIDE, SIDE)) == tuple(expected.shape[2:])


@EACH
def test_embeddings_are_those_of_the_pipeline(folders, name):
    encoder, pipeline = reader(folders, name), official(folders, name)
    with torch.no_grad():
        expected, empty = pipeline.encode_prompt(PROMPTS, max_sequence_length=LENGTH)
    torch.testing.assert_close(encoder.encode(PROMPTS)["y"][:, 0], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder.null(2)[:, 0], empty, atol=1e-5, rtol=1e-5)


@EACH
def test_the_forward_pass_and_the_names_of_weights_are_those_of_diffusers(folders, name):
    model, network = ours(folders, name), official(folders, name).transformer
    latents, _, text = noised()
    t = torch.tensor([3.0, 900.0])
    with torch.no_grad():
        expected = network(latents, t, text, return_dict=False)[0]
        found = model(latents, t, y=text[:, None], height=torch.full((2,), 16.0))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 1e-3
    assert model.state_dict().keys() == network.state_dict().keys()


@EACH
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_sample_is_that_of_the_pipeline(folders, name, guidance):
    pipeline = official(folders, name)
    vae = build_autoencoder({"from_pretrained": str(folders[name])})
    noise = noised(vae.get_latent_size((FRAMES, SIDE, SIDE))[1])[1]
    size = {"height": SIDE, "width": SIDE, "num_frames": FRAMES}
    expected = pipeline(
        PROMPTS,
        **size,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=noise,
        max_sequence_length=LENGTH,
        output_type="latent",
    ).frames
    scheduler = build_module(
        {**FAMILIES[name].scheduler, "num_sampling_steps": 4, "cfg_scale": guidance}, SCHEDULERS
    )
    model, encoder = ours(folders, name).eval(), reader(folders, name)
    found = scheduler.sample(model, encoder, PROMPTS, None, "cpu", z=noise)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (found - noise).abs().max() > 1e-2


@EACH
def test_a_step_has_the_gradients_of_a_plain_loop_of_diffusers(folders, name):
    latents, noise, text = noised()
    # 1. the loop that anybody would write
    network = official(folders, name).transformer.train()
    shift = FAMILIES[name].scheduler["shift"]
    schedule = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    places = torch.tensor([100, 800])
    t, sigma = schedule.timesteps[places], schedule.sigmas[places].view(-1, 1, 1, 1, 1)
    output = network(sigma * noise + (1 - sigma) * latents, t, text, return_dict=False)[0]
    (output - (noise - latents)).square().mean().backward()
    # 2. ours
    model = ours(folders, name)
    scheduler = build_module(FAMILIES[name].scheduler, SCHEDULERS)
    given = {"y": text[:, None], "mask": torch.ones(2, LENGTH)}
    terms = scheduler.training_losses(model, latents, t, given, noise=noise)
    terms["loss"].mean().backward()
    expected = {n: p.grad for n, p in network.named_parameters()}
    for parameter_name, parameter in model.named_parameters():
        wanted = expected[parameter_name]
        assert parameter.grad is not None, parameter_name
        torch.testing.assert_close(parameter.grad, wanted, atol=1e-6, rtol=1e-4)


@EACH
def test_operations_are_counted_from_the_folder_alone(folders, name):
    model, (latents, _, text) = ours(folders, name), noised(4)
    # the fused kernels of a CPU are not counted by torch, plain products are
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        given = {"y": text[:1, None], "mask": torch.ones(1, LENGTH, dtype=torch.int64)}
        out = model(latents[:1], torch.tensor([3.0]), **given)
        forward = counter.get_total_flops()
        out.sum().backward()
    fields = {"type": "diffusers", "from_pretrained": str(folders[name])}
    cost = model_cost({"model": fields, "text_encoder": {"model_max_length": LENGTH}})
    grid = tuple(
        side // patch for side, patch in zip(latents.shape[2:], cost.patch_size, strict=True)
    )
    assert cost.forward_flops(grid) == pytest.approx(forward, rel=0.01)
    assert cost.training_flops(grid) == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert token_bytes(cost, Setup()) > token_bytes(cost, Setup(grad_checkpoint=True)) > 0
