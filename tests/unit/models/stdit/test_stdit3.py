"""STDiT3 has no reference outputs: its parts against the models that have, and its settings."""

import pytest
import torch

from opensora.models.layers.positions import RotaryEmbedding
from opensora.models.pixart import PixArtBlock
from opensora.models.stdit import STDiT2Block, STDiT3, STDiT3Block
from tests.unit.models.models_reference import fill

D, HEADS, B, T, S, L = 24, 2, 2, 3, 4, 5


def tiny(**settings):
    sizes = {"hidden_size": D, "depth": 2, "num_heads": HEADS, "caption_channels": 6}
    return STDiT3(**{**sizes, "model_max_length": L, **settings})


def inputs(size=(T, 4, 6), **more):
    generator = torch.Generator().manual_seed(2)
    return {
        "x": torch.randn(B, 4, *size, generator=generator),
        "timestep": torch.tensor([30.0, 700.0]),
        "y": torch.randn(B, 1, L, 6, generator=generator),
        "height": torch.tensor([240.0, 100.0]),
        "width": torch.tensor([426.0, 100.0]),
        "fps": torch.tensor([24.0, 8.0]),
        **more,
    }


def tokens(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def test_a_temporal_block_is_the_temporal_half_of_an_stdit2_block():
    ours = fill(STDiT3Block(D, HEADS, temporal=True))
    theirs = fill(STDiT2Block(D, HEADS, qk_norm=True, qk_norm_legacy=False))
    theirs.attn_temp.load_state_dict(ours.attn.state_dict())
    for name in ("cross_attn", "mlp"):
        getattr(theirs, name).load_state_dict(getattr(ours, name).state_dict())
    with torch.no_grad():
        theirs.scale_shift_table_temporal.copy_(ours.scale_shift_table[:3])
        theirs.scale_shift_table[2] = 0  # the spatial half is shut
        theirs.scale_shift_table[3:] = ours.scale_shift_table[3:]
    x, text, time = tokens(B, T, S, D), tokens(B, L, D), tokens(B, 1, 6, D)
    shut = torch.cat((torch.zeros(B, 1, 3, D), time[:, :, 3:]), dim=2)
    rotation = RotaryEmbedding(D // HEADS)(T)
    torch.testing.assert_close(
        ours(x, text, time, rotation), theirs(x, text, shut, time[:, :, :3], rotation)
    )


def test_a_spatial_block_is_a_pixart_block_on_every_frame():
    ours = fill(STDiT3Block(D, HEADS, temporal=False, qk_norm=False))
    theirs = fill(PixArtBlock(D, HEADS))
    theirs.load_state_dict(ours.state_dict())
    x, text, time = tokens(B, T, S, D), tokens(B, L, D), tokens(B, 1, 6, D)
    frames = [theirs(x[:, t : t + 1], text, time) for t in range(T)]
    torch.testing.assert_close(ours(x, text, time), torch.cat(frames, dim=1))


def test_new_temporal_blocks_and_frame_rates_change_nothing():
    model = tiny()
    for block in model.temporal_blocks:
        x = tokens(B, T, S, D)
        out = block(x, tokens(B, L, D), tokens(B, 1, 6, D), model.rope(T))
        biases = block.cross_attn.proj.bias  # zero as well
        assert torch.equal(out, x)
        assert not biases.any()
    assert not model.fps_embedder(torch.tensor([[24.0]])).any()


def test_clean_frames_are_those_of_timestep_zero_up_to_the_final_layer():
    model = fill(tiny(pred_sigma=False))
    given = inputs(x_mask=torch.zeros(B, T, dtype=torch.bool))
    model.final_layer = _KeepTokens()
    clean = model(**given)
    at_zero = model(**inputs(timestep=torch.zeros(B)))
    torch.testing.assert_close(clean, at_zero)
    assert not torch.allclose(clean, model(**inputs()))


class _KeepTokens(torch.nn.Module):
    def forward(self, x, *_):
        return x[..., :16]  # 2 * 2 pixels of 4 channels


def test_text_embedded_ahead_gives_the_same():
    model, skipping = fill(tiny()), fill(tiny(skip_y_embedder=True))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    given = inputs()
    expected = model(**given, mask=mask)
    given["y"] = model.encode_text(given["y"])
    torch.testing.assert_close(skipping(**given, mask=mask), expected)
    assert not any(p.requires_grad for p in skipping.y_embedder.parameters())


@pytest.mark.parametrize(
    ("setting", "trained"),
    [
        ("only_train_temporal", lambda name: name.startswith("temporal_blocks.")),
        ("freeze_y_embedder", lambda name: not name.startswith(("y_embedder.", "rope."))),
    ],
)
def test_settings_say_what_is_trained(setting, trained):
    for name, parameter in tiny(**{setting: True}).named_parameters():
        assert parameter.requires_grad is trained(name), name


def test_rotation_comes_after_the_norms_unless_asked():
    plain, legacy = fill(tiny()), fill(tiny(qk_norm_legacy=True))
    assert not torch.equal(plain(**inputs()), legacy(**inputs()))


def test_size_and_rate_are_needed_the_rest_is_not():
    model = tiny()
    model(**inputs())
    for name in ("height", "width", "fps"):
        with pytest.raises(ValueError, match="needs height, width and fps"):
            model(**inputs(**{name: None}))


def test_frame_masks_of_half_a_guided_batch_serve_both_halves():
    model = fill(tiny())
    mask = torch.tensor([[True, False, True]])
    shared = model(**inputs(x_mask=mask))
    assert torch.equal(shared, model(**inputs(x_mask=mask.expand(B, -1))))
