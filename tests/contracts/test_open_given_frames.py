"""Open models that go on from given frames, against the image pipelines of diffusers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.core.errors import ConfigError
from opensora.models.build import build_autoencoder, takes_frame_mask
from opensora.schedulers.common import Conditions, size_conditions
from tests import tiny_open, tiny_open_ltx
from tests.open_families import FAMILIES, FPS, LENGTH, pack_ltx


@dataclass(frozen=True)
class Given:
    """One row.

    Attributes:
        make: writes a tiny pipeline into a folder.
        pipeline: its class in diffusers, of pictures.
        family: its row in `FAMILIES`.
        num_frames: of a video.
        solvers: of sampling here; each is that of the pipeline as well.
        parts: that its pipeline may lack.
        start: what the pipeline is given of noise and the first latent frame.
        pack: latents as its pipeline gives them.
    """

    make: Callable[[Path], Path]
    pipeline: str
    family: str
    num_frames: int
    solvers: tuple[str, ...]
    parts: tuple[str, ...] = ()
    start: Callable[[Tensor, Tensor], Tensor] = lambda noise, _: noise
    pack: Callable[[Tensor], Tensor] = lambda latents: latents


ROWS = {
    "wan-2.2-5b": Given(
        tiny_open.wan_2_2,
        "WanImageToVideoPipeline",
        "wan-2.2-5b",
        5,
        ("unipc", "euler"),
        ("image_encoder", "image_processor"),
    ),
    "ltx": Given(
        tiny_open_ltx.ltx,
        "LTXImageToVideoPipeline",
        "ltx",
        17,
        ("euler-even",),
        start=lambda noise, first: pack_ltx(torch.cat([first, noise[:, :, 1:]], dim=2)),
        pack=pack_ltx,
    ),
}
EACH = pytest.mark.parametrize("name", ROWS)


@pytest.fixture(name="folders", scope="module")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("open")
    return {name: row.make(root / name) for name, row in ROWS.items()}


def official(folder: Path, row: Given) -> Any:
    left_out = dict.fromkeys(row.parts)
    pipeline = getattr(diffusers, row.pipeline).from_pretrained(folder, **left_out)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def ours(folder: Path) -> Any:
    return build_module({"type": "diffusers", "from_pretrained": str(folder)}, MODELS)


def reader(folder: Path, row: Given) -> Any:
    fields = {"type": FAMILIES[row.family].text_encoder, "from_pretrained": str(folder)}
    return build_module({**fields, "model_max_length": LENGTH}, MODELS)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sizes(row: Given, number: int) -> Conditions:
    side = FAMILIES[row.family].side
    return size_conditions(number, num_frames=row.num_frames, height=side, width=side, fps=FPS)


@pytest.mark.parametrize(
    ("name", "solver"), [(name, solver) for name, row in ROWS.items() for solver in row.solvers]
)
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_sample_that_begins_with_a_picture_is_that_of_the_pipeline(
    folders, name, guidance, solver
):
    row, folder = ROWS[name], folders[name]
    family, pipeline = FAMILIES[row.family], official(folder, row)
    side = family.side
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    vae = build_autoencoder({"from_pretrained": str(folder)})
    size = vae.get_latent_size((row.num_frames, side, side))
    noise = drawn(1, 1, tiny_open.CHANNELS, *size)
    fields = {**family.scheduler, "solver": solver, "num_sampling_steps": 4}
    scheduler = build_module({**fields, "cfg_scale": guidance}, SCHEDULERS)
    if solver == "euler":
        pipeline.scheduler = scheduler._steps(scheduler.shift)
    first = vae.encode(picture[:, :, None], posterior="mean")
    expected = pipeline(
        picture,
        "a red ball",
        height=side,
        width=side,
        **family.arguments,
        **{**family.guide(pipeline, guidance), "num_frames": row.num_frames},
        num_inference_steps=4,
        latents=row.start(noise, first),
        output_type="latent",
    ).frames
    z = torch.cat([first, noise[:, :, 1:]], dim=2)
    mask = torch.ones(1, size[0])
    mask[:, 0] = 0
    found = scheduler.sample(
        *(ours(folder).eval(), reader(folder, row), ["a red ball"], None, "cpu", sizes(row, 1)),
        z=z,
        mask=mask,
    )
    torch.testing.assert_close(row.pack(found), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(found[:, :, 0], first[:, :, 0])
    assert (found - z)[:, :, 1:].abs().max() > 1e-2


def predict_wan(network: Any, x: Tensor, frames: Tensor, text: Tensor, _: Tensor) -> Tensor:
    times = frames.view(2, 3, 1, 1).expand(2, 3, 2, 2).flatten(1)  # patches of 2 x 2
    return network(x, times, text, return_dict=False)[0]


def predict_ltx(network: Any, x: Tensor, frames: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    times = frames.view(2, 3, 1, 1).expand(2, 3, 4, 4).flatten(1)
    scale = (8 / FPS, 16, 16)  # of 64 pixels in 4 places
    output = network(pack_ltx(x), text, times, mask, 3, 4, 4, scale, return_dict=False)[0]
    return diffusers.LTXPipeline._unpack_latents(output, 3, 4, 4)


PREDICT = {"wan-2.2-5b": predict_wan, "ltx": predict_ltx}


@EACH
def test_a_step_with_given_frames_has_the_gradients_of_a_plain_loop(folders, name):
    row, folder = ROWS[name], folders[name]
    latents, noise = drawn(1, 2, 2, tiny_open.CHANNELS, 3, 4, 4)
    text, text_mask = drawn(2, 2, LENGTH, tiny_open.TEXT_CHANNELS), torch.ones(2, LENGTH).long()
    t = torch.tensor([100.0, 800.0])
    mask = torch.tensor([[False, True, True], [True, True, False]])
    # 1. the loop that anybody would write
    network = official(folder, row).transformer.train()
    live = mask[:, None, :, None, None].float()
    sigma = t.view(-1, 1, 1, 1, 1) / 1000
    x = live * (sigma * noise + (1 - sigma) * latents) + (1 - live) * latents
    output = PREDICT[name](network, x, t[:, None] * mask, text, text_mask)
    errors = ((output - (noise - latents)).square() * live).mean(dim=(1, 3, 4)).sum(1)
    (errors / mask.sum(1)).mean().backward()
    # 2. ours
    model = ours(folder)
    assert takes_frame_mask(model)
    given: Conditions = {**sizes(row, 2), "y": text[:, None], "mask": text_mask}
    scheduler = build_module(FAMILIES[row.family].scheduler, SCHEDULERS)
    terms = scheduler.training_losses(model, latents, t, given, mask, noise=noise)
    terms["loss"].mean().backward()
    expected = {name: parameter.grad for name, parameter in network.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-6, rtol=1e-4)


def test_frames_that_are_half_kept_are_refused(folders):
    row, folder = ROWS["wan-2.2-5b"], folders["wan-2.2-5b"]
    scheduler = build_module(FAMILIES[row.family].scheduler, SCHEDULERS)
    mask = torch.tensor([[0.3, 1.0]])
    noise = drawn(1, 1, tiny_open.CHANNELS, 2, 2, 2)
    with pytest.raises(ConfigError, match="edit_ratio 0 or 1"):
        scheduler.sample(ours(folder), reader(folder, row), ["a"], None, "cpu", z=noise, mask=mask)
