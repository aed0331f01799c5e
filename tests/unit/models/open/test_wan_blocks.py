"""Wan's blocks of fewer operations give diffusers' numbers, there and back."""

from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from opensora.acceleration.compiler import compiler_problem
from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.models.layers.kernels import host
from opensora.models.open.wan_blocks import fold_padding

FIELDS = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
}
LENGTH = 24
LENGTHS = {"short": (5, 9), "one is full": (5, LENGTH), "one left": (3, LENGTH - 1), "none": (0, 2)}


def both() -> tuple[Any, Any]:
    """Diffusers' network and ours, with the same weights, none of them at rest."""
    torch.manual_seed(0)
    theirs = diffusers.WanTransformer3DModel(**FIELDS).train()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    fields = {"_class_name": "WanTransformer3DModel", **FIELDS}
    ours = build_module({"type": "diffusers", "architecture": fields}, MODELS).train()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def given(lengths: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timesteps and captions of so many tokens."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 3, 8, 6, generator=generator)
    text = torch.randn(2, LENGTH, 16, generator=generator)
    text *= (torch.arange(LENGTH) < torch.tensor(lengths)[:, None])[..., None]
    return x, torch.tensor([3.0, 900.0]), text


def gradients(network: Any, out: Tensor) -> dict[str, Tensor]:
    out.float().square().sum().backward()
    return {name: weight.grad for name, weight in network.named_parameters()}


@pytest.mark.numeric
@pytest.mark.parametrize("each", [1, 1 << 30], ids=["a call a sample", "one call"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_forward_and_gradients_are_those_of_diffusers(lengths, each, monkeypatch):
    monkeypatch.setattr(host, "_LARGE", each)
    theirs, ours = both()
    x, t, text = given(lengths)
    expected = theirs(x, t, text, return_dict=False)[0]
    found = ours(x, t, text[:, None])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    wanted, got = gradients(theirs, expected), gradients(ours, found)
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.numeric
def test_recomputed_blocks_have_the_same_gradients():
    _, ours = both()
    x, t, text = given((5, 9))
    expected = gradients(ours, ours(x, t, text[:, None]))
    expected = {name: gradient.clone() for name, gradient in expected.items()}
    ours.zero_grad(set_to_none=True)
    ours.set_grad_checkpoint()
    found = gradients(ours, ours(x, t, text[:, None]))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


@pytest.mark.numeric
@pytest.mark.parametrize("each", [1, 1 << 30], ids=["a call a sample", "one call"])
@pytest.mark.parametrize("few", [0, 512], ids=["attention in bf16", "attention in fp32"])
def test_bf16_is_as_near_to_fp32_as_that_of_diffusers(few, each, monkeypatch):
    monkeypatch.setattr(host, "_LARGE", each)
    monkeypatch.setattr(host, "_FEW", few)
    theirs, ours = both()
    x, t, text = given((5, 9))
    exact = theirs(x, t, text, return_dict=False)[0]
    exact_gradients = {n: g.clone() for n, g in gradients(theirs, exact).items()}
    distances = []
    for network in (theirs, ours):
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            out = (
                network(x, t, text[:, None])
                if network is ours
                else network(x, t, text, return_dict=False)[0]
            )
        found = gradients(network, out)
        far = sum(float((found[n] - g).norm()) for n, g in exact_gradients.items())
        distances.append((float((out - exact).norm()), far))
    (theirs_out, theirs_far), (ours_out, ours_far) = distances
    assert 0 < ours_out < 1.2 * theirs_out
    assert 0 < ours_far < 1.2 * theirs_far


def test_padding_is_kept_where_nothing_could_be_left_out():
    _, _, text = given((5, LENGTH))
    assert fold_padding(text)[1] is None
    _, _, text = given((5, 9))
    kept, bias = fold_padding(text)
    assert kept.shape == (2, 10, 16)
    assert bias is not None
    weights = bias.exp()[:, 0, 0]  # tokens that each stands for
    torch.testing.assert_close(weights.sum(1), torch.full((2,), float(LENGTH)))
    assert torch.equal(weights[:, :5], torch.ones(2, 5))


@pytest.mark.slow
@pytest.mark.numeric
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_loss_and_gradients_of_compiled_blocks_are_those_of_eager_ones(
    backend, tmp_path, monkeypatch
):
    if backend == "inductor" and (problem := compiler_problem(torch.device("cpu"))):
        pytest.skip(problem)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    _, ours = both()
    x, t, text = given((5, 9))
    scheduler = build_module({"type": "flow-match", "shift": 3.0}, SCHEDULERS)

    def loss_and_gradients() -> tuple[Tensor, dict[str, Tensor]]:
        ours.zero_grad(set_to_none=True)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        terms = scheduler.training_losses(ours, x, t, {"y": text[:, None]}, noise=noise)
        loss = terms["loss"].mean()
        loss.backward()
        return loss.detach(), {n: w.grad.clone() for n, w in ours.named_parameters()}

    loss, wanted = loss_and_gradients()
    ours.compile_blocks(backend)
    found, got = loss_and_gradients()
    torch.testing.assert_close(found, loss, atol=1e-5, rtol=1e-5)
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
