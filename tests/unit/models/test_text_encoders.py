import json

import pytest
import torch
from transformers import (
    ByT5Tokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

from opensora.core.errors import CheckpointError
from opensora.core.registry import MODELS, build_module
from opensora.models.layers.embeddings import CaptionEmbedder


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    config = T5Config(vocab_size=384, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def t5(t5_folder):
    config = {"type": "t5", "from_pretrained": str(t5_folder), "model_max_length": 10}
    return build_module(config, MODELS)


def test_t5_pads_and_cuts_to_its_length(t5):
    out = t5.encode(["ab", "a caption of more than ten bytes"])
    assert out["y"].shape == (2, 1, 10, 16)
    assert out["mask"].dtype == torch.int64
    assert out["mask"].sum(1).tolist() == [3, 10]  # two bytes and the end of the text; all


def test_t5_tokens_are_the_bytes_of_the_caption(t5):
    ids, _ = t5.tokenize(["ab"])
    assert ids[0, :4].tolist() == [ord("a") + 3, ord("b") + 3, 1, 0]  # 3 special ids come first


def test_t5_of_a_caption_does_not_depend_on_its_neighbours(t5):
    alone, beside = t5.encode(["ab"])["y"], t5.encode(["xyz", "ab"])["y"]
    torch.testing.assert_close(alone[0, 0, :3], beside[1, 0, :3], atol=1e-5, rtol=1e-4)


def test_null_captions_are_those_of_the_model(t5):
    t5.y_embedder = None
    with pytest.raises(ValueError, match="y_embedder"):
        t5.null(1)
    t5.y_embedder = CaptionEmbedder(16, 8, 0.1, num_tokens=12)
    null = t5.null(3)
    assert null.shape == (3, 1, 10, 16)  # as long as the captions of this encoder
    assert torch.equal(null[2, 0], t5.y_embedder.y_embedding[:10])


def test_identity_and_types(t5, t5_folder):
    identity = t5.identity()
    assert (identity["type"], identity["tokenizer"], identity["output_dim"]) == (
        "t5",
        "ByT5Tokenizer",
        16,
    )
    config = {"type": "t5", "from_pretrained": str(t5_folder), "dtype": "bf16"}
    half = build_module(config, MODELS)
    assert half.encode(["a"])["y"].dtype == torch.bfloat16
    assert half.identity() == identity
    assert half.to(dtype=torch.float32).encode(["a"])["y"].dtype == torch.float32
    with pytest.raises(ValueError, match="dtype"):
        build_module({**config, "dtype": "half"}, MODELS)


def test_clip_pools_a_caption_to_one_vector(tmp_path):
    vocabulary = ["a", "b", "a</w>", "b</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(vocabulary)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=5,
        eos_token_id=6,
    )
    CLIPTextModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = build_module(
        {"type": "clip", "from_pretrained": str(tmp_path), "model_max_length": 12}, MODELS
    )
    out = encoder.encode(["ab", "b a"])
    assert out.keys() == {"y"}
    assert out["y"].shape == (2, 1, 1, 16)
    assert (out["y"][0] - out["y"][1]).abs().max() > 1e-3
    assert encoder.output_dim == 16


def test_classes_are_numbers_written_as_text():
    encoder = build_module({"type": "classes", "num_classes": 10}, MODELS)
    assert encoder.encode(["3", "0"])["y"].tolist() == [3, 0]
    assert encoder.null(2).tolist() == [10, 10]
    for wrong in ("10", "cat", "-1"):
        with pytest.raises(ValueError, match="is not a class"):
            encoder.encode([wrong])


class TestRefusals:
    def test_no_folder(self, tmp_path):
        with pytest.raises(CheckpointError, match="neither a folder on this disk nor a hub name"):
            build_module({"type": "t5", "from_pretrained": str(tmp_path / "none")}, MODELS)

    def test_no_tokenizer(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"tokenizer_config\.json is missing"):
            build_module({"type": "t5", "from_pretrained": str(tmp_path)}, MODELS)

    def test_incomplete_weights_are_not_filled_with_random_ones(self, t5_folder, tmp_path):
        from safetensors.torch import load_file, save_file

        for file in t5_folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        weights = load_file(tmp_path / "model.safetensors")
        del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match="lacks 1 weights"):
            build_module({"type": "t5", "from_pretrained": str(tmp_path)}, MODELS)
