import pytest
import torch
from torch import nn

from opensora.models.dit import DiT
from opensora.models.layers.blocks import FinalLayer, draw_drops, keep_gates, select_frames
from opensora.models.layers.embeddings import (
    CaptionEmbedder,
    LabelEmbedder,
    PatchEmbed3D,
    repeat_rows,
    timestep_features,
)
from opensora.models.layers.norms import add_gated, modulate
from opensora.models.layers.positions import rotate, rotation_table, spatial_table
from opensora.models.layers.transformer import VideoTransformer, prepare_text
from opensora.models.pixart import PixArt, PixArtMS
from opensora.models.stdit import STDiT, STDiT2


def transformer(patch_size=(1, 2, 2), channels=3):
    return VideoTransformer(
        in_channels=channels,
        out_channels=channels,
        patch_size=patch_size,
        hidden_size=12,
        num_heads=3,
    )


def tiny_stdit2(**kwargs):
    torch.manual_seed(0)
    settings = {
        "hidden_size": 24,
        "depth": 2,
        "num_heads": 2,
        "caption_channels": 6,
        "model_max_length": 5,
        "pred_sigma": False,
        "qk_norm": True,
    }
    model = STDiT2(**{**settings, **kwargs})
    for parameter in model.parameters():  # no zero-initialised branch hides anything
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    return model


def stdit2_inputs(size=(2, 4, 4), batch=2):
    generator = torch.Generator().manual_seed(1)
    sizes = {"num_frames": size[0], "height": 32, "width": 32, "ar": 1, "fps": 8}
    return {
        "x": torch.randn(batch, 4, *size, generator=generator),
        "timestep": torch.tensor([30.0, 700.0])[:batch],
        "y": torch.randn(batch, 1, 5, 6, generator=generator),
        **{name: torch.full((batch,), float(value)) for name, value in sizes.items()},
    }


@pytest.mark.parametrize("patch_size", [(1, 1, 1), (1, 2, 2), (2, 3, 1)])
@pytest.mark.parametrize("size", [(4, 6, 4), (3, 5, 7)])
def test_unpatchify_undoes_patches(patch_size, size):
    model = transformer(patch_size)
    x = torch.randn(2, 3, *size)
    pt, ph, pw = patch_size
    identity = PatchEmbed3D(patch_size, 3, 3 * pt * ph * pw)
    identity.proj.weight.data = torch.eye(3 * pt * ph * pw).view_as(identity.proj.weight)
    identity.proj.bias.data.zero_()
    tokens = identity(x)  # [B, T, S, C * pt * ph * pw], channels slowest
    tokens = tokens.unflatten(-1, (3, pt * ph * pw)).transpose(-1, -2).flatten(-2)
    assert tokens.shape[1:3] == (-(-size[0] // pt), -(-size[1] // ph) * -(-size[2] // pw))
    assert torch.equal(model.unpatchify(tokens, size), x)


def test_patches_are_the_convolution_of_their_weights():
    layer = PatchEmbed3D((1, 2, 2), 3, 8)
    x = torch.randn(2, 3, 2, 4, 6)
    expected = layer.proj(x).flatten(3).permute(0, 2, 3, 1)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_frame_mask_counts_a_token_as_clean_only_when_all_its_frames_are():
    mask = torch.tensor([[False, False, True, False, False]])
    assert transformer((2, 1, 1)).frame_mask(mask, 1).tolist() == [[False, True, False]]
    assert torch.equal(transformer((1, 1, 1)).frame_mask(mask, 2), mask.expand(2, -1))
    assert transformer((2, 1, 1)).frame_mask(None, 1) is None


def test_modulate_and_gate_are_their_formulas():
    x, shift, scale = torch.randn(2, 3, 4, 8), torch.randn(2, 1, 1, 8), torch.randn(2, 1, 1, 8)
    normal = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(
        modulate(x, shift, scale), normal * (1 + scale) + shift, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(add_gated(x, scale, x * 2), x + scale * x * 2)


def test_timestep_features_start_with_cosines_and_take_fractions():
    features = timestep_features(torch.tensor([0.0, 0.5]), 5)
    assert features[0].tolist() == [1, 1, 0, 0, 0]
    assert features[1, 0] == pytest.approx(torch.cos(torch.tensor(0.5)).item())
    assert features[1, 2] == pytest.approx(torch.sin(torch.tensor(0.5)).item())


def test_a_spatial_table_names_the_column_first():
    table = spatial_table(2, 3, 8).view(2, 3, 8)
    assert torch.equal(table[0, :, :4], table[1, :, :4])  # columns: the same in every row
    assert torch.equal(table[:, 0, 4:], table[:, 2, 4:])  # rows: the same in every column
    assert table[1, 2, 0] == pytest.approx(torch.sin(torch.tensor(2.0)).item())
    assert table[1, 2, 4] == pytest.approx(torch.sin(torch.tensor(1.0)).item())


def test_a_last_single_channel_is_not_rotated():
    x = torch.randn(3, 4, 7)
    out = rotate(x, rotation_table(4, 7))
    assert torch.equal(out[..., 6], x[..., 6])
    assert torch.equal(out[:, 0], x[:, 0])  # position 0
    torch.testing.assert_close(out.norm(dim=-1), x.norm(dim=-1))
    angle = torch.tensor(3 * 10_000 ** (-2 / 7))  # position 3, pair 1
    expected = x[:, 3, 2] * angle.cos() - x[:, 3, 3] * angle.sin()
    torch.testing.assert_close(out[:, 3, 2], expected)


def test_rows_repeat_only_where_they_divide_the_batch():
    rows = torch.tensor([[1], [2]])
    assert repeat_rows(rows, 4).flatten().tolist() == [1, 2, 1, 2]
    with pytest.raises(ValueError, match="2 rows"):
        repeat_rows(rows, 3)


def test_select_frames_takes_clean_values_where_the_mask_is_false():
    noised, clean = torch.ones(1, 1, 6, 2), torch.zeros(1, 1, 6, 2)
    picked = select_frames(torch.tensor([[True, False, True]]), noised, clean)
    assert picked[0, :, 0, 0].tolist() == [1, 0, 1]


def test_the_final_layer_modulates_clean_frames_twice():
    layer = FinalLayer(8, 4)
    x, time, clean = torch.randn(1, 2, 3, 8), torch.randn(1, 8), torch.randn(1, 8)
    out = layer(x, time, torch.tensor([[True, False]]), clean)
    first = layer.scale_shift_table[:, None] + time  # [2, 1, D]: shift, scale
    second = layer.scale_shift_table[:, None] + clean
    once = modulate(x, first[0], first[1])
    torch.testing.assert_close(out[:, 0], layer.linear(once[:, 0]))
    torch.testing.assert_close(out[:, 1], layer.linear(modulate(once, second[0], second[1])[:, 1]))


class TestPrepareText:
    def test_shared_padding_is_cut_off(self):
        y, mask = prepare_text(
            torch.randn(2, 1, 5, 3), torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]), 2
        )
        assert y.shape == (2, 1, 3, 3)
        assert mask.shape == (2, 1, 1, 3)
        assert mask[:, 0, 0].tolist() == [[True, True, False], [True, True, True]]

    def test_equal_lengths_need_no_mask(self):
        y, mask = prepare_text(torch.randn(2, 1, 5, 3), torch.tensor([[1, 1, 0, 0, 0]] * 2), 2)
        assert y.shape == (2, 1, 2, 3)
        assert mask is None

    def test_half_a_batch_of_masks_serves_both_halves(self):
        _, mask = prepare_text(torch.randn(4, 1, 2, 3), torch.tensor([[1, 0], [1, 1]]), 4)
        assert mask[:, 0, 0, 1].tolist() == [False, True, False, True]

    def test_captions_without_any_token_keep_one_masked_column(self):
        y, mask = prepare_text(torch.randn(1, 1, 4, 3), torch.zeros(1, 4), 1)
        assert y.shape == (1, 1, 1, 3)
        assert not mask.any()


class TestDropout:
    def test_all_captions_drop_at_probability_one_and_none_in_eval(self):
        layer = CaptionEmbedder(4, 8, 1.0, num_tokens=6)
        y = torch.randn(3, 1, 5, 4)
        null = layer.y_proj(layer.y_embedding[:5])
        torch.testing.assert_close(layer(y), null.expand(3, 1, 5, 8))
        torch.testing.assert_close(layer.eval()(y), layer.y_proj(y))

    def test_captions_longer_than_the_null_caption_are_refused(self):
        with pytest.raises(ValueError, match="captions of 3 tokens, the model takes 2"):
            CaptionEmbedder(4, 8, 0.5, num_tokens=2)(torch.randn(1, 1, 3, 4))

    def test_the_global_seed_decides_which_captions_drop(self):
        layer, y = CaptionEmbedder(4, 8, 0.5, num_tokens=5), torch.randn(64, 1, 5, 4)
        runs = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            runs.append(layer(y))
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])

    def test_dropped_labels_become_the_extra_class(self):
        layer = LabelEmbedder(3, 8, 1.0)
        torch.testing.assert_close(
            layer(torch.tensor([0, 2])), layer.embedding_table.weight[3].expand(2, 8)
        )

    def test_skipped_branches_keep_the_mean(self):
        torch.manual_seed(0)
        ones = torch.ones(200_000, 1, 1, 1)
        gates = torch.stack([*keep_gates(draw_drops(3, ones, 0.25), ones, ones, ones)])
        assert gates.unique().tolist() == [0.0, pytest.approx(4 / 3)]
        assert gates.mean().item() == pytest.approx(1, abs=0.01)


class TestModel:
    @pytest.mark.parametrize("size", [(1, 2, 2), (1, 4, 4), (3, 2, 2)], ids=str)
    def test_single_frames_and_single_tokens_work(self, size):
        inputs = stdit2_inputs(size, batch=1)
        assert tiny_stdit2()(**inputs).shape == (1, 4, *size)

    def test_checkpointing_changes_no_gradient(self):
        grads = []
        for enabled in (False, True):
            model = tiny_stdit2(class_dropout_prob=0.5, drop_path=0.5).train()
            model.set_grad_checkpoint(enabled)
            torch.manual_seed(3)  # the same captions and branches are dropped
            model(**stdit2_inputs()).square().mean().backward()
            grads.append([p.grad for p in model.parameters() if p.requires_grad])
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))

    def test_sampling_first_does_not_spoil_training(self):
        model = tiny_stdit2()
        inputs = stdit2_inputs(size=(5, 6, 10))  # a size no other test uses: tables are made here
        with torch.inference_mode():
            model(**inputs)
        model(**inputs).mean().backward()
        assert model.blocks[0].attn_temp.qkv.weight.grad is not None

    def test_frame_positions_in_the_residual_stream_tell_frames_apart(self):
        inputs = stdit2_inputs(size=(3, 4, 4))
        inputs["x"] = inputs["x"][:, :, :1].expand(-1, -1, 3, -1, -1)  # a still video
        with torch.no_grad():
            plain = tiny_stdit2()(**inputs)
            told = tiny_stdit2(temporal_pos_embed=True)(**inputs)
        torch.testing.assert_close(plain[:, :, 0], plain[:, :, 2], atol=1e-5, rtol=1e-4)
        assert (told[:, :, 0] - told[:, :, 2]).abs().max() > 1e-2

    @pytest.mark.parametrize(
        ("part", "trained"), [("text", "attn_temp"), ("not_temporal", "attn_temp")]
    )
    def test_freezing_leaves_time_trainable(self, part, trained):
        model = tiny_stdit2(freeze=part)
        names = {name for name, p in model.named_parameters() if p.requires_grad}
        assert any(trained in name for name in names)
        assert not any("cross_attn" in name for name in names)
        assert any("mlp" in name for name in names) is (part == "text")

    def test_wrong_arguments_are_refused(self):
        with pytest.raises(ValueError, match="divisible by 12"):
            STDiT2(hidden_size=32, num_heads=4)
        with pytest.raises(ValueError, match="freeze"):
            tiny_stdit2(freeze="nothing")
        with pytest.raises(ValueError, match="needs num_frames"):
            tiny_stdit2()(**{**stdit2_inputs(), "fps": None})

    def test_freezing_all_of_a_model_is_refused(self):
        sizes = {"hidden_size": 24, "depth": 1, "num_heads": 2, "caption_channels": 6}
        with pytest.raises(ValueError, match="freeze is 'not_temporal', which is all of PixArt"):
            PixArt(freeze="not_temporal", **sizes)

    def test_widths_that_hold_no_position_table_are_refused(self):
        with pytest.raises(ValueError, match="hidden_size 18 is not divisible by 4"):
            DiT(hidden_size=18, num_heads=3, depth=1)

    def test_pixart_takes_its_size_in_both_ways(self):
        sizes = {"hidden_size": 24, "depth": 1, "num_heads": 2, "caption_channels": 6}
        model = PixArtMS((1, 4, 6), **sizes).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        x, t, y = torch.randn(4, 4, 1, 4, 6), torch.full((4,), 5.0), torch.randn(4, 1, 7, 6)
        height, width, ar = (torch.tensor([a, b]) for a, b in ((256.0, 64), (384.0, 96), (0.7, 1)))
        info = {"hw": torch.stack((height, width), 1), "ar": ar[:, None]}  # 2 rows for a batch of 4
        out = model(x, t, y, data_info=info)
        assert torch.equal(out, model(x, t, y, height=height, width=width, ar=ar))
        assert not torch.equal(out, model(x, t, y, height=width, width=height, ar=ar))

    def test_stdit_on_another_size_equals_one_built_for_it(self):
        settings = {
            "hidden_size": 24,
            "depth": 1,
            "num_heads": 2,
            "caption_channels": 6,
            "space_scale": 0.5,
        }
        models = []
        for size in ((2, 8, 8), (3, 4, 6)):
            torch.manual_seed(0)
            models.append(STDiT(input_size=size, **settings).eval())
        for model in models:
            nn.init.normal_(model.final_layer.linear.weight, generator=_seeded())
        x, t = torch.randn(1, 4, 3, 4, 6), torch.tensor([5])
        y = torch.randn(1, 1, 7, 6)
        assert torch.equal(models[0](x, t, y), models[1](x, t, y))

    def test_stdit_without_frame_positions_sees_no_order_of_frames(self):
        torch.manual_seed(0)
        model = STDiT(
            (3, 4, 4),
            hidden_size=24,
            depth=2,
            num_heads=2,
            caption_channels=6,
            no_temporal_pos_emb=True,
        ).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
        x, t, y = torch.randn(1, 4, 3, 4, 4), torch.tensor([5]), torch.randn(1, 1, 7, 6)
        order = torch.tensor([2, 0, 1])
        torch.testing.assert_close(
            model(x[:, :, order], t, y), model(x, t, y)[:, :, order], atol=1e-4, rtol=1e-4
        )


def _seeded():
    return torch.Generator().manual_seed(4)
