"""What a family can not do is one sentence; models by their architecture alone, tiny."""

from typing import Any

import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import ConfigError

COGVIDEOX = {
    "_class_name": "CogVideoXTransformer3DModel",
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": 8,
    "text_embed_dim": 16,
    "num_layers": 1,
    "max_text_seq_length": 32,
}
HUNYUAN = {
    "_class_name": "HunyuanVideo15Transformer3DModel",
    "in_channels": 9,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "num_layers": 1,
    "num_refiner_layers": 1,
    "text_embed_dim": 16,
    "text_embed_2_dim": 12,
    "image_embed_dim": 8,
    "rope_axes_dim": [4, 4, 4],
    "task_type": "t2v",
}


def build(fields: dict[str, Any]) -> Any:
    return build_module({"type": "diffusers", "architecture": fields}, MODELS)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({**COGVIDEOX, "in_channels": 8}, "it makes videos of a picture"),
        ({**COGVIDEOX, "patch_size_t": 2}, "as 1.5, which is not known here"),
        ({**HUNYUAN, "task_type": "i2v"}, "give one of task_type 't2v'"),
        ({**HUNYUAN, "use_meanflow": True}, "use_meanflow True"),
    ],
)
def test_a_model_of_another_kind_is_refused(fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build(fields)


def test_a_text_of_another_length_than_cogvideox_reads_says_where_to_set_it():
    model = build(COGVIDEOX)
    with pytest.raises(ConfigError, match=r"set text_encoder\.model_max_length .* to 32"):
        model(torch.zeros(1, 4, 1, 4, 4), torch.tensor([5]), torch.zeros(1, 1, 20, 16))


def test_texts_of_another_encoder_are_refused():
    with pytest.raises(ConfigError, match="reads texts of 't5-cogvideox' and these are of 't5'"):
        build(COGVIDEOX).check_text_encoder("t5")


def test_a_length_without_room_for_the_caption_is_refused():
    fields = {"type": "qwen-hunyuan", "from_pretrained": "nowhere", "model_max_length": 256}
    with pytest.raises(ConfigError, match="256 of it are for quotations; give more"):
        build_module(fields, MODELS)


def test_padding_of_hunyuans_texts_changes_nothing():
    model = build(HUNYUAN).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 2, 2, 2, generator=generator)
    y = torch.randn(2, 1, 7, 17, generator=generator)
    y[..., -1] = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0]])
    t = torch.tensor([10.0, 700.0])
    with torch.no_grad():
        short = model(x, t, y, mask)
        longer = model(
            *(x, t), torch.cat([y, y + 1], 2), torch.cat([mask, torch.zeros_like(mask)], 1)
        )
        alone = model(x[1:], t[1:], y[1:, :, :3], mask[1:, :3])
        other = model(x, t, y.flip(2), mask)
    torch.testing.assert_close(longer, short)
    torch.testing.assert_close(alone, short[1:], atol=1e-5, rtol=1e-4)
    assert (other - short).abs().max() > 1e-4
