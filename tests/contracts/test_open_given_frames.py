"""Open models that go on from given frames, against the image pipeline of diffusers."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.core.errors import ConfigError
from opensora.models.build import build_autoencoder, takes_frame_mask
from tests import tiny_open

LENGTH, FRAMES, SIDE = 32, 5, 32
FLOW = {"type": "flow-match", "shift": 5.0, "num_sampling_steps": 4}


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_open.wan_2_2(tmp_path_factory.mktemp("open") / "wan")


@pytest.fixture(name="pipeline", scope="module")
def _pipeline(folder: Path) -> Any:
    pipeline = diffusers.WanImageToVideoPipeline.from_pretrained(
        folder, image_encoder=None, image_processor=None
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def ours(folder: Path) -> Any:
    return build_module({"type": "diffusers", "from_pretrained": str(folder)}, MODELS)


def reader(folder: Path) -> Any:
    fields = {"type": "umt5", "from_pretrained": str(folder), "model_max_length": LENGTH}
    return build_module(fields, MODELS)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("solver", ["unipc", "euler"])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_sample_that_begins_with_a_picture_is_that_of_the_pipeline(
    folder, pipeline, guidance, solver
):
    picture = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    vae = build_autoencoder({"from_pretrained": str(folder)})
    size = vae.get_latent_size((FRAMES, SIDE, SIDE))
    noise = drawn(1, 1, tiny_open.CHANNELS, *size)
    scheduler = build_module({**FLOW, "cfg_scale": guidance, "solver": solver}, SCHEDULERS)
    pipeline.scheduler = scheduler._steps(scheduler.shift)
    expected = pipeline(
        picture,
        "a red ball",
        height=SIDE,
        width=SIDE,
        num_frames=FRAMES,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=noise,
        max_sequence_length=LENGTH,
        output_type="latent",
    ).frames
    first = vae.encode(picture[:, :, None], posterior="mean")
    z = torch.cat([first, noise[:, :, 1:]], dim=2)
    mask = torch.ones(1, size[0])
    mask[:, 0] = 0
    found = scheduler.sample(
        ours(folder).eval(), reader(folder), ["a red ball"], None, "cpu", z=z, mask=mask
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(found[:, :, 0], first[:, :, 0])
    assert (found - z)[:, :, 1:].abs().max() > 1e-2


def test_a_step_with_given_frames_has_the_gradients_of_a_plain_loop(folder, pipeline):
    latents, noise = drawn(1, 2, 2, tiny_open.CHANNELS, 3, 4, 4)
    text = drawn(2, 2, LENGTH, tiny_open.TEXT_CHANNELS)
    t = torch.tensor([100.0, 800.0])
    mask = torch.tensor([[False, True, True], [True, True, False]])
    # 1. the loop that anybody would write
    network = pipeline.transformer.train()
    network.zero_grad()
    live = mask[:, None, :, None, None].float()
    sigma = t.view(-1, 1, 1, 1, 1) / 1000
    x = live * (sigma * noise + (1 - sigma) * latents) + (1 - live) * latents
    times = (live[:, 0, :, :, :] * t.view(-1, 1, 1, 1)).expand(2, 3, 2, 2).flatten(1)
    output = network(x, times, text, return_dict=False)[0]
    errors = ((output - (noise - latents)).square() * live).mean(dim=(1, 3, 4)).sum(1)
    (errors / mask.sum(1)).mean().backward()
    # 2. ours
    model = ours(folder)
    assert takes_frame_mask(model)
    terms = build_module(FLOW, SCHEDULERS).training_losses(
        model, latents, t, {"y": text[:, None]}, mask, noise=noise
    )
    terms["loss"].mean().backward()
    expected = {name: parameter.grad for name, parameter in network.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-6, rtol=1e-4)


def test_frames_that_are_half_kept_are_refused(folder):
    scheduler = build_module(FLOW, SCHEDULERS)
    mask = torch.tensor([[0.3, 1.0]])
    noise = drawn(1, 1, tiny_open.CHANNELS, 2, 2, 2)
    with pytest.raises(ConfigError, match="edit_ratio 0 or 1"):
        scheduler.sample(ours(folder), reader(folder), ["a"], None, "cpu", z=noise, mask=mask)
