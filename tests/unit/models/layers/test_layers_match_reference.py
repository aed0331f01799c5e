"""Single layers and blocks against the numbers of the reference implementation."""

import pytest
import torch
from torch import Tensor, nn

from opensora.models.dit import DiTBlock
from opensora.models.layers.attention import Attention, CrossAttention
from opensora.models.layers.blocks import AdaptiveFinalLayer, FinalLayer, Mlp, select_frames
from opensora.models.layers.embeddings import (
    CaptionEmbedder,
    LabelEmbedder,
    PatchEmbed3D,
    SizeEmbedder,
    TimestepEmbedder,
)
from opensora.models.layers.norms import RMSNorm
from opensora.models.layers.positions import (
    RotaryEmbedding,
    rotate,
    spatial_table,
    temporal_table,
)
from opensora.models.pixart import PixArtBlock
from opensora.models.stdit import STDiT2Block, STDiTBlock
from tests.unit.models.models_reference import TABLE, TENSORS, fill, tensors

D, HEADS, T, S = 48, 4, 3, 4
TEXT_LENGTHS = (3, 5)  # of the packed captions in the reference's inputs


def check(case: str, out: Tensor) -> None:
    expected = TENSORS[f"{case}/out"]
    torch.testing.assert_close(out.reshape(expected.shape), expected, atol=1e-5, rtol=1e-5)


def unpack(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Packed text [1, 3 + 5, D] as padded [2, 5, D] and mask [2, 1, 1, 5]."""
    first, second = packed[0].split(TEXT_LENGTHS)
    text = nn.utils.rnn.pad_sequence([first, second], batch_first=True)
    mask = torch.arange(max(TEXT_LENGTHS)) < torch.tensor(TEXT_LENGTHS)[:, None]
    return text, mask[:, None, None]


SINGLE = {  # case: (layer, further arguments)
    "layer_timestep_embedder": lambda: TimestepEmbedder(D),
    "layer_timestep_embedder_fractional": lambda: TimestepEmbedder(D, frequency_dim=33),
    "layer_patch_embed_pad": lambda: PatchEmbed3D((2, 2, 2), 4, D),
    "layer_rmsnorm": lambda: RMSNorm(D),
    "layer_rmsnorm_small": lambda: RMSNorm(D),
    "layer_attention": lambda: Attention(D, HEADS),
    "layer_mlp_gelu": lambda: Mlp(D, 2 * D),
}


@pytest.mark.parametrize("case", sorted(SINGLE))
def test_layers_of_one_input(case):
    check(case, fill(SINGLE[case]())(tensors(case)["0"]))


def test_size_embedder_repeats_rows_to_the_batch():
    inputs = tensors("layer_size_embedder")
    check("layer_size_embedder", fill(SizeEmbedder(D))(inputs["0"], 4))


def test_attention_rotates_before_it_normalises():
    case = "layer_attention_rope_qknorm"
    x = tensors(case)["0"]
    rotation = RotaryEmbedding(D // HEADS)(x.shape[1])
    check(case, fill(Attention(D, HEADS, qk_norm=True))(x, rotation))


def test_rotary_turns_neighbouring_channels():
    x = tensors("layer_rope")["0"]  # [2, 4, 9, 12], positions on axis -2
    rope = RotaryEmbedding(x.shape[-1])
    torch.testing.assert_close(rope.freqs.data, TENSORS["layer_rope/freqs"], rtol=1e-6, atol=0)
    check("layer_rope", rotate(x, rope(x.shape[-2])))


def test_cross_attention_keeps_samples_apart():
    inputs = tensors("layer_cross_attention")
    layer = fill(CrossAttention(D, HEADS))
    check("layer_cross_attention", layer(inputs["0"], *unpack(inputs["1"])))


def test_caption_embedder_replaces_dropped_rows():
    case = "layer_caption_embedder"
    inputs = tensors(case)
    layer = fill(CaptionEmbedder(24, D, 0.1, num_tokens=5))
    layer.y_embedding.copy_(TENSORS[f"{case}/buffer/y_embedding"])
    check(case, layer(inputs["0"], inputs["force_drop_ids"] == 1))


def test_label_embedder_replaces_dropped_rows():
    case = "layer_label_embedder"
    inputs = tensors(case)
    check(case, fill(LabelEmbedder(6, D, 0.1))(inputs["0"], inputs["force_drop_ids"] == 1))


@pytest.mark.parametrize("suffix", ["", "_small"])
def test_adaptive_final_layer(suffix):
    case = f"layer_final_layer{suffix}"
    inputs = tensors(case)
    check(case, fill(AdaptiveFinalLayer(D, 32))(inputs["0"][:, None], inputs["1"]))


@pytest.mark.parametrize("suffix", ["", "_small"])
def test_final_layer(suffix):
    case = f"layer_t2i_final_layer{suffix}"
    inputs = tensors(case)
    x = inputs["0"].view(2, 3, 2, D)
    layer = fill(FinalLayer(D, 32))
    check(case, layer(x, inputs["1"], inputs.get("x_mask"), inputs.get("t0")))


BLOCK_CASES = sorted(name for name in TABLE["cases"] if "_block" in name)


@pytest.mark.parametrize("case", BLOCK_CASES)
def test_blocks(case):
    inputs = tensors(case)
    x = inputs["0"].view(2, T, S, D)
    x_mask = inputs.get("x_mask")
    if "dit_block" in case and "stdit" not in case:
        check(case, fill(DiTBlock(D, HEADS))(inputs["0"][:, None], inputs["1"]))
        return
    text, text_mask = unpack(inputs["1"])
    real = inputs["2"].view(2, 1, 6, D)
    clean = inputs["t0"].view(2, 1, 6, D) if x_mask is not None else None
    time = select_frames(x_mask, real, clean)
    if "pixart" in case:
        out = fill(PixArtBlock(D, HEADS))(x, text, time, text_mask)
    elif "stdit2" in case:
        temporal_clean = inputs["t0_tmp"].view(2, 1, 3, D) if x_mask is not None else None
        temporal = select_frames(x_mask, inputs["3"].view(2, 1, 3, D), temporal_clean)
        rotation = RotaryEmbedding(D // HEADS)(T)
        block = fill(STDiT2Block(D, HEADS, qk_norm=True))
        out = block(x, text, time, temporal, rotation, text_mask)
    else:
        block = fill(STDiTBlock(D, HEADS))
        out = block(x, text, time, text_mask, inputs.get("4"), None if x_mask is None else real)
    check(case, out)


@pytest.mark.parametrize("entry", TABLE["positions"], ids=lambda entry: entry["key"])
def test_position_tables(entry):
    expected = TENSORS[f"positions/{entry['key']}"].float()
    if entry["key"].startswith("pos1d"):
        table = temporal_table(entry["length"], entry["embed_dim"], scale=entry["scale"])
    else:
        grid = entry.get("grid_size", [entry.get("h"), entry.get("w")])
        rows, columns = (grid, grid) if isinstance(grid, int) else grid
        table = spatial_table(
            rows,
            columns,
            entry.get("embed_dim", entry.get("dim")),
            scale=entry["scale"],
            base_size=entry["base_size"],
        )
    torch.testing.assert_close(table.reshape(expected.shape), expected, atol=1e-5, rtol=0)


def test_the_gradients_of_the_rms_norm_are_those_of_torchs():
    torch.manual_seed(0)
    x = torch.randn(5, 3, 4, 9).transpose(1, 2).requires_grad_()
    gradient = torch.randn(5, 4, 3, 9)
    norm = RMSNorm(9)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(9))
    norm(x).backward(gradient)
    plain, weight = (t.detach().double().requires_grad_() for t in (x, norm.weight))
    torch.nn.functional.rms_norm(plain, (9,), weight, 1e-6).backward(gradient.double())
    torch.testing.assert_close(x.grad.double(), plain.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.weight.grad.double(), weight.grad, rtol=1e-5, atol=1e-5)
