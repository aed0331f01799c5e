"""Open models against diffusers' own pipelines, tiny and random; a new family is one row."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.models.build import build_autoencoder
from opensora.models.layers.packed import PackedLinear, pack_blocks, packs
from opensora.models.open.family import FAMILIES as KNOWN
from opensora.plans.budget.cost import model_cost
from opensora.plans.budget.memory import Setup, token_bytes
from opensora.schedulers.common import size_conditions
from tests import tiny_open
from tests.open_families import FAMILIES, FPS, FRAMES, LENGTH

PROMPTS = ["a red ball", 'two blue cubes say "hi"']
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
    return build_module({**fields, "model_max_length": FAMILIES[name].length}, MODELS)


def autoencoder(folders: dict[str, Path], name: str) -> Any:
    return build_autoencoder({"from_pretrained": str(folders[name])})


def noised(folders: dict[str, Path], name: str) -> tuple[torch.Tensor, ...]:
    """Latents, noise, texts and their mask, of two videos."""
    side = FAMILIES[name].side
    size = autoencoder(folders, name).get_latent_size((FRAMES, side, side))
    generator = torch.Generator().manual_seed(1)
    latents, noise = torch.randn(2, 2, tiny_open.CHANNELS, *size, generator=generator)
    text = torch.randn(2, LENGTH, FAMILIES[name].text_channels, generator=generator)
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[1, 9:] = 0
    return latents, noise, text * mask[..., None], mask


def sizes(name: str) -> Any:
    side = FAMILIES[name].side
    return size_conditions(2, num_frames=FRAMES, height=side, width=side, fps=FPS)


def test_each_known_family_has_a_row(folders):
    assert {type(official(folders, name).transformer).__name__ for name in FAMILIES} == set(KNOWN)


@EACH
def test_latents_are_those_of_the_pipelines_autoencoder(folders, name):
    side = FAMILIES[name].side
    generator = torch.Generator().manual_seed(0)
    videos = torch.rand(2, 3, FRAMES, side, side, generator=generator) * 2 - 1
    vae = autoencoder(folders, name)
    network = official(folders, name).vae
    with torch.no_grad():
        raw = torch.cat([network.encode(one[None]).latent_dist.mode() for one in videos])
    expected = FAMILIES[name].normalise(raw)
    torch.testing.assert_close(vae.encode(videos, posterior="mean"), expected, atol=1e-5, rtol=1e-5)
    assert vae.get_latent_size((FRAMES, side, side)) == tuple(expected.shape[2:])


@EACH
def test_embeddings_are_those_of_the_pipeline(folders, name):
    encoder, pipeline = reader(folders, name), official(folders, name)
    with torch.no_grad():
        expected = FAMILIES[name].texts(pipeline, PROMPTS)
    for found, (y, mask) in zip([encoder.encode(PROMPTS), encoder.null(2)], expected, strict=True):
        torch.testing.assert_close(found["y"][:, 0], y, atol=1e-5, rtol=1e-5)
        if mask is not None:
            assert torch.equal(found["mask"].bool(), mask.bool())


@EACH
def test_the_forward_pass_and_the_names_of_weights_are_those_of_diffusers(folders, name):
    model, network = ours(folders, name), official(folders, name).transformer
    latents, _, text, mask = noised(folders, name)
    t = torch.tensor([3.0, 900.0])
    with torch.no_grad():
        expected = FAMILIES[name].predict(network, latents, t, text, mask)
        found = model(latents, t, y=text[:, None], mask=mask, **sizes(name))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 1e-3
    assert model.state_dict().keys() == network.state_dict().keys()


@EACH
def test_weights_in_bf16_take_the_latents_and_texts_of_sampling(folders, name):
    model = ours(folders, name).eval()
    latents, _, text, mask = noised(folders, name)
    t, given = torch.tensor([3.0, 900.0]), {"y": text[:, None], "mask": mask, **sizes(name)}
    with torch.no_grad():
        exact = model(latents, t, **given)
        found = model.to(torch.bfloat16)(latents, t, **given)
    assert found.dtype == torch.float32
    assert (found - exact).abs().mean() < 0.05 * exact.std()


@EACH
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_sample_is_that_of_the_pipeline(folders, name, guidance):
    family, pipeline = FAMILIES[name], official(folders, name)
    noise = noised(folders, name)[1]
    expected = pipeline(
        PROMPTS,
        **{"height": family.side, "width": family.side},
        **family.arguments,
        num_inference_steps=4,
        **family.guide(pipeline, guidance),
        latents=family.pack(noise),
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).frames
    fields = {**family.scheduler, "num_sampling_steps": 4, "cfg_scale": guidance}
    scheduler = build_module(fields, SCHEDULERS)
    model, encoder = ours(folders, name).eval(), reader(folders, name)
    generator = torch.Generator().manual_seed(3)  # of solvers that draw noise at each step
    seen = {}
    found = scheduler.sample(
        *(model, encoder, PROMPTS, None, "cpu", sizes(name)),
        z=noise,
        generator=generator,
        watch=lambda step, estimate: seen.update({step: estimate()}),
    )
    given = family.given or family.pack
    torch.testing.assert_close(given(found), expected, atol=1e-4, rtol=1e-4)
    assert (found - noise).abs().max() > 1e-2
    # what previews show: the last step has no noise left to take away
    assert list(seen) == [1, 2, 3, 4]
    torch.testing.assert_close(seen[4], found, atol=1e-3, rtol=1e-3)


@EACH
def test_packed_products_give_the_sample_of_plain_ones(folders, name):
    if not packs(torch.device("cpu"), torch.float32):
        pytest.skip("no oneDNN for this processor")
    noise = noised(folders, name)[1]
    scheduler = build_module({**FAMILIES[name].scheduler, "num_sampling_steps": 2}, SCHEDULERS)
    made = []
    for packed in (False, True):
        model, encoder = ours(folders, name).eval(), reader(folders, name)
        if packed:
            pack_blocks(model, torch.device("cpu"), torch.float32)
            assert any(isinstance(part, PackedLinear) for part in model.modules())
        generator = torch.Generator().manual_seed(3)
        words = (model, encoder, PROMPTS, None, "cpu", sizes(name))
        made.append(scheduler.sample(*words, z=noise, generator=generator))
    torch.testing.assert_close(*made, atol=1e-3, rtol=1e-3)


@EACH
def test_a_step_has_the_gradients_of_a_plain_loop_of_diffusers(folders, name):
    family = FAMILIES[name]
    latents, noise, text, mask = noised(folders, name)
    # 1. the loop that anybody would write
    network = official(folders, name).transformer.train()
    loss, t = family.loss(lambda x, t: family.predict(network, x, t, text, mask), latents, noise)
    loss.backward()
    # 2. ours
    model = ours(folders, name)
    scheduler = build_module(family.scheduler, SCHEDULERS)
    given = {"y": text[:, None], "mask": mask, **sizes(name)}
    terms = scheduler.training_losses(model, latents, t, given, noise=noise)
    terms["loss"].mean().backward()
    expected = {n: p.grad for n, p in network.named_parameters()}
    for parameter_name, parameter in model.named_parameters():
        wanted = expected[parameter_name]
        assert parameter.requires_grad == (wanted is not None), parameter_name
        if wanted is None:
            continue
        torch.testing.assert_close(parameter.grad, wanted, atol=1e-6, rtol=1e-4)


@EACH
def test_operations_are_counted_from_the_folder_alone(folders, name):
    model, (latents, _, text, _) = ours(folders, name), noised(folders, name)
    fields = {"type": "diffusers", "from_pretrained": str(folders[name])}
    cost = model_cost({"model": fields, "text_encoder": {"model_max_length": LENGTH}})
    grid = tuple(
        side // patch for side, patch in zip(latents.shape[2:], cost.patch_size, strict=True)
    )
    # the fused kernels of a CPU are not counted by torch, plain products are
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        given = {"y": text[:1, None], "mask": torch.ones(1, LENGTH, dtype=torch.int64)}
        given |= {name: value[:1] for name, value in sizes(name).items()}
        out = model(latents[:1], torch.tensor([3.0]), **given)
        forward = counter.get_total_flops()
        out.sum().backward()
    assert cost.forward_flops(grid) == pytest.approx(forward, rel=0.01)
    assert cost.training_flops(grid) == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert token_bytes(cost, Setup()) > token_bytes(cost, Setup(grad_checkpoint=True)) > 0


@EACH
def test_blocks_of_one_kind_are_of_one_class(folders, name):
    # by it torch.compile, FSDP and the count of operations know that they are the same
    blocks = ours(folders, name).all_blocks
    assert len(blocks) > 1
    assert len({type(block) for block in blocks}) == len({type(b).__name__ for b in blocks})
