"""Attention by the kernels of torch and of flash-attn, over all keys and over some."""

import pytest
import torch
import torch.nn.functional as F

from opensora.models.layers.attention import attend
from opensora.models.layers.kernels import backends
from opensora.models.layers.kernels.backends import attend_keys, backend_attend


def scaled(q, k, v, mask=None, *, scale=None):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def heads(*shape, dtype=torch.float32):
    return torch.randn(shape).to(dtype).requires_grad_()


class TestMasksAsChannels:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_they_give_what_a_dense_mask_gives_with_gradients(self, dtype):
        torch.manual_seed(0)
        mask = torch.rand(3, 7) < 0.5
        mask[:, 3], mask[1] = True, False  # and a caption without any token
        mask = mask[:, None, None]
        start = [heads(3, 2, length, 72, dtype=dtype) for length in (5, 7, 7)]
        with torch.no_grad():
            start[1][:, :, 0] *= 100  # what padding holds must not matter
        found = []
        for function in (lambda *all: attend_keys(scaled, *all), attend):
            inputs = [tensor.detach().clone().requires_grad_() for tensor in start]
            out = function(*inputs, mask)
            out.backward(torch.ones_like(out).cumsum(-1))
            found.append([out, *(tensor.grad for tensor in inputs)])
        assert found[0][0][1].abs().max() == 0
        bound = 1e-5 if dtype == torch.float32 else 3e-2
        for a, b in zip(*found, strict=True):
            assert a.isfinite().all()
            assert (a - b).abs().max() <= bound * b.abs().max()

    def test_scores_far_below_zero_still_win_over_padding(self):
        q, k, v = heads(1, 1, 2, 8), heads(1, 1, 3, 8), heads(1, 1, 3, 8)
        mask = torch.tensor([[[[True, True, False]]]])
        out = attend_keys(scaled, 40 * q, -40 * q.mean(2, keepdim=True) + 0 * k, v, mask)
        exact = attend(40 * q, -40 * q.mean(2, keepdim=True) + 0 * k, v, mask)
        torch.testing.assert_close(out, exact, atol=1e-4, rtol=1e-4)

    def test_other_masks_stay_dense(self):
        k = torch.zeros(2, 1, 3, 8)
        assert backends._masks_keys(torch.ones(2, 1, 1, 3, dtype=torch.bool), k)
        assert not backends._masks_keys(torch.ones(2, 1, 5, 3, dtype=torch.bool), k)
        assert not backends._masks_keys(torch.ones(5, 3, dtype=torch.bool), k)


@pytest.mark.parametrize("backend", backends.BACKENDS)
def test_a_cpu_gives_the_same_bits_by_every_backend(backend):
    q, k, v = heads(2, 3, 5, 8), heads(2, 3, 7, 8), heads(2, 3, 7, 8)
    mask = (torch.arange(7) < 4)[None, None, None]
    for given in (None, mask):
        assert torch.equal(backend_attend(backend)(q, k, v, given), attend(q, k, v, given))


@pytest.mark.parametrize("head_size", [64, 72, 80, 96, 128])
@pytest.mark.parametrize("backend", ["flash", "math"])
def test_kernels_that_a_cpu_has_give_the_formula_over_ragged_texts(backend, head_size):
    """Output and gradients; the second of the texts has no token at all."""
    torch.manual_seed(0)
    start = [torch.randn(3, 2, length, head_size) for length in (5, 7, 7)]
    keep = (torch.arange(7) < torch.tensor([[7], [0], [3]]))[:, None, None]

    def formula(q, k, v, mask):
        scores = (q @ k.mT / head_size**0.5).masked_fill(~mask, -torch.inf)
        return scores.softmax(-1).nan_to_num(0) @ v

    found = []
    for function, dtype in (
        (lambda *given: attend_keys(backends._sdpa(backend, alone=True), *given), torch.float32),
        (formula, torch.float64),
    ):
        inputs = [tensor[[0, 2]].to(dtype).requires_grad_() for tensor in start]
        out = function(*inputs, keep[[0, 2]])
        found.append([out, *torch.autograd.grad(out.cumsum(-1).sum(), inputs)])
    for a, b in zip(*found, strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()
    inputs = [tensor.requires_grad_() for tensor in start]
    out = attend_keys(backends._sdpa(backend, alone=True), *inputs, keep)
    for tensor in (out, *torch.autograd.grad(out.sum(), inputs)):
        assert tensor.isfinite().all()
        assert not tensor[1].any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backend", backends.BACKENDS)
def test_backends_on_a_gpu(backend, masked):
    if not backends.installed(backend):
        pytest.skip(f"{backend} is not installed")
    torch.manual_seed(0)
    start = [torch.randn(3, 2, length, 72, device="cuda") for length in (64, 40, 40)]
    mask = None
    if masked:
        lengths = torch.tensor([40, 0, 7], device="cuda")[:, None]
        mask = (torch.arange(40, device="cuda") < lengths)[:, None, None]
    found = []
    for function, dtype in ((backend_attend(backend, alone=True), torch.bfloat16), (attend, None)):
        inputs = [tensor.to(dtype or tensor.dtype).requires_grad_() for tensor in start]
        out = function(*inputs, mask)
        out.backward(torch.ones_like(out).cumsum(-1))
        found.append([out, *(tensor.grad for tensor in inputs)])
    for a, b in zip(*found, strict=True):
        assert a.isfinite().all()
        assert (a - b).abs().max() <= 4e-2 * b.abs().max()
