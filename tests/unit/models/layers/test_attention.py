import pytest
import torch

from opensora.models.layers.attention import Attention, CrossAttention, attend
from opensora.models.layers.kernels.flash import flash_attend


def by_hand(q, k, v, mask=None):
    scores = torch.einsum("nhld,nhsd->nhls", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.einsum("nhls,nhsd->nhld", scores.softmax(-1), v)


def qkv(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, n, 8, generator=generator).to(dtype) for n in (5, 7, 7)]


def test_attend_is_softmax_of_scaled_products():
    q, k, v = qkv()
    mask = torch.arange(7) < torch.tensor([[3], [7]])
    mask = mask[:, None, None]
    torch.testing.assert_close(attend(q, k, v), by_hand(q, k, v), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(attend(q, k, v, mask), by_hand(q, k, v, mask), atol=1e-6, rtol=1e-5)


def test_a_row_without_tokens_attends_to_nothing():
    q, k, v = qkv()
    mask = torch.tensor([False, True])[:, None, None, None].expand(2, 1, 1, 7)
    out = attend(q, k, v, mask)
    assert out[0].abs().max() == 0
    torch.testing.assert_close(out[1], by_hand(q, k, v)[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_computed_in_float32_on_a_cpu(autocast):
    q, k, v = qkv(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = attend(q, k, v)
    assert out.dtype == torch.bfloat16
    exact = by_hand(q.float(), k.float(), v.float())
    # one rounding: half a step of bf16 is 2**-8 of the value at most, and where two neighbours are
    # as near the last bit of the exact value decides, which is another on each processor
    torch.testing.assert_close(out.float(), exact, rtol=2**-8, atol=1e-5)


def test_flash_path_falls_back_where_it_can_not_serve():
    q, k, v = qkv()
    assert torch.equal(flash_attend(q, k, v), attend(q, k, v))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="not divisible by num_heads"):
        Attention(10, 3)


def test_attention_follows_a_permutation_of_its_tokens():
    layer = Attention(12, 3, qk_norm=True)
    x, order = torch.randn(2, 5, 12), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], atol=1e-6, rtol=1e-5)


def test_padding_does_not_reach_cross_attention():
    layer = CrossAttention(12, 3)
    x, text = torch.randn(2, 5, 12), torch.randn(2, 4, 12)
    mask = (torch.arange(4) < 2).expand(2, 1, 1, 4)
    changed = text.clone()
    changed[:, 2:] = 100
    assert torch.equal(layer(x, text, mask), layer(x, changed, mask))
    torch.testing.assert_close(layer(x, text, mask), layer(x, text[:, :2]), atol=1e-6, rtol=1e-5)


def test_the_attention_function_can_be_replaced():
    seen = []

    def spy(q, k, v, mask):
        seen.append(tuple(q.shape))
        return attend(q, k, v, mask)

    layer = Attention(12, 3, attend=spy)
    layer(torch.randn(2, 5, 12))
    assert seen == [(2, 3, 5, 4)]
