import json
import logging

import open_clip
import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled
from transformers import (
    ByT5Tokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError, ConfigError
from opensora.models.clip_model import ClipModel, load_clip, save_clip
from opensora.models.layers.embeddings import CaptionEmbedder
from opensora.models.text_encoder.t5 import FusedNorm, fuse_norms


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


def test_reading_weights_draws_no_bar_into_a_log(t5_folder, capfd):
    config = {"type": "t5", "from_pretrained": str(t5_folder), "model_max_length": 10}
    build_module(config, MODELS)
    assert "Loading weights" not in capfd.readouterr().err
    assert not are_progress_bars_disabled()  # those of downloads


def test_t5_tokens_are_the_bytes_of_the_caption(t5):
    ids, _ = t5.tokenize(["ab"])
    assert ids[0, :4].tolist() == [ord("a") + 3, ord("b") + 3, 1, 0]  # 3 special ids come first


def test_t5_of_a_caption_does_not_depend_on_its_neighbours(t5):
    alone, beside = t5.encode(["ab"])["y"], t5.encode(["xyz", "ab"])["y"]
    torch.testing.assert_close(alone[0, 0, :3], beside[1, 0, :3], atol=1e-5, rtol=1e-4)


def test_a_umt5_is_not_read_as_a_t5(tmp_path):
    config = UMT5Config(vocab_size=384, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=2)
    UMT5EncoderModel(config).save_pretrained(tmp_path)
    ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds a UMT5.* use type umt5"):
        build_module(dict(type="t5", from_pretrained=str(tmp_path)), MODELS)


def test_null_captions_are_those_of_the_model(t5):
    t5.y_embedder = None
    with pytest.raises(ValueError, match="y_embedder"):
        t5.null(1)
    t5.y_embedder = CaptionEmbedder(16, 8, 0.1, num_tokens=12)
    null = t5.null(3)["y"]
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
    with pytest.raises(ConfigError, match=r"dtype is 'half'; expected one of fp32"):
        build_module({**config, "dtype": "half"}, MODELS)


def test_fused_norms_give_the_numbers_of_the_norms_they_replace(t5_folder):
    torch.manual_seed(1)
    config = T5Config(vocab_size=384, d_model=48, d_kv=8, d_ff=96, num_layers=3, num_heads=4)
    network = T5EncoderModel(config).eval()
    for name, parameter in network.named_parameters():
        if "layer_norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 2.0)
    ids = torch.randint(3, 384, (2, 12))
    names = set(network.state_dict())
    with torch.no_grad():
        before = network(input_ids=ids).last_hidden_state
        assert fuse_norms(network) == 7  # two in each of three layers, and the last
        after = network(input_ids=ids).last_hidden_state
    torch.testing.assert_close(after, before, atol=5e-6, rtol=0)
    assert set(network.state_dict()) == names
    assert fuse_norms(network) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_fused_norm_of_half_weights_is_half(dtype):
    norm = FusedNorm(torch.nn.Parameter(torch.full((4,), 2.0, dtype=dtype)), 1e-6)
    x = torch.tensor([[1.0, -1.0, 3.0, 1.0]])  # mean square 3
    for values in (x, x.to(dtype)):  # a residual stream may be kept in float32
        y = norm(values)
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), 2 * x / 3**0.5, atol=2e-2, rtol=0)


def test_shardformer_on_a_cpu_changes_nothing_and_says_so(t5, t5_folder, caplog):
    config = {"type": "t5", "from_pretrained": str(t5_folder), "model_max_length": 10}
    with caplog.at_level(logging.INFO):
        sharded = build_module({**config, "shardformer": True}, MODELS)
    assert [r.getMessage() for r in caplog.records if "shardformer" in r.getMessage()] == [
        "t5 shardformer=true has no effect on device=cpu"
    ]
    assert torch.equal(sharded.encode(["abc"])["y"], t5.encode(["abc"])["y"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_shardformer_on_cuda_fuses_the_norms(t5, t5_folder):
    config = {"type": "t5", "from_pretrained": str(t5_folder), "model_max_length": 10}
    fused = build_module({**config, "shardformer": True, "device": "cuda"}, MODELS)
    assert sum(isinstance(module, FusedNorm) for module in fused.network.modules()) == 5
    torch.testing.assert_close(
        fused.encode(["abc"])["y"].cpu(), t5.encode(["abc"])["y"], atol=1e-4, rtol=0
    )


CLIP_TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
}


def save_tokenizer(folder):
    """A vocabulary of two letters; returns its size."""
    vocabulary = ["a", "b", "a</w>", "b</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    return {"vocab_size": len(vocabulary), "bos_token_id": 5, "eos_token_id": 6}


def clip(folder, **kwargs):
    return build_module(
        {"type": "clip", "from_pretrained": str(folder), "model_max_length": 12, **kwargs}, MODELS
    )


def test_clip_pools_a_caption_to_one_vector(tmp_path):
    ids = save_tokenizer(tmp_path)
    CLIPTextModel(CLIPTextConfig(**CLIP_TEXT, **ids)).save_pretrained(tmp_path)
    encoder = clip(tmp_path)
    out = encoder.encode(["ab", "b a"])
    assert out.keys() == {"y"}
    assert out["y"].shape == (2, 1, 1, 16)
    assert (out["y"][0] - out["y"][1]).abs().max() > 1e-3
    assert encoder.output_dim == 16


def test_a_folder_of_a_whole_clip_gives_its_text_half(tmp_path):
    ids = save_tokenizer(tmp_path)
    torch.manual_seed(0)
    vision = {**CLIP_TEXT, "image_size": 8, "patch_size": 4}
    del vision["max_position_embeddings"]
    config = CLIPConfig(text_config={**CLIP_TEXT, **ids}, vision_config=vision)
    whole = CLIPModel(config).eval()
    whole.save_pretrained(tmp_path)
    encoder = clip(tmp_path)
    ids, mask = encoder.tokenize(["ab a"])
    with torch.no_grad():
        wanted = whole.text_model(input_ids=ids, attention_mask=mask).pooler_output
    torch.testing.assert_close(encoder.encode(["ab a"])["y"][:, 0, 0], wanted)


@pytest.fixture(scope="module")
def open_clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_clip") / "model"
    torch.manual_seed(0)
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    vision = {"image_size": 8, "patch_size": 4, "width": 16, "head_width": 8, "layers": 1}
    model = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True}
    save_clip(folder, ClipModel({"model_cfg": model}))
    return folder


def test_a_folder_of_open_clip_gives_what_transformers_gives_of_the_same_weights(open_clip_folder):
    """The two layouts differ in names only; q, k and v stand in one matrix in open_clip."""
    source = load_clip(open_clip_folder).network
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=16, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=20, hidden_act="quick_gelu",
        bos_token_id=49406, eos_token_id=49407,
    )  # fmt: skip
    network = CLIPTextModel(config).eval()
    state = {
        "embeddings.token_embedding.weight": source.token_embedding.weight,
        "embeddings.position_embedding.weight": source.positional_embedding,
    }
    for name in ("weight", "bias"):
        state[f"final_layer_norm.{name}"] = getattr(source.ln_final, name)
        for k, block in enumerate(source.transformer.resblocks):
            layer = f"encoder.layers.{k}"
            for part, value in zip(
                "qkv", getattr(block.attn, f"in_proj_{name}").chunk(3), strict=True
            ):
                state[f"{layer}.self_attn.{part}_proj.{name}"] = value
            state[f"{layer}.self_attn.out_proj.{name}"] = getattr(block.attn.out_proj, name)
            for ours, theirs in (
                ("layer_norm1", block.ln_1),
                ("layer_norm2", block.ln_2),
                ("mlp.fc1", block.mlp.c_fc),
                ("mlp.fc2", block.mlp.c_proj),
            ):
                state[f"{layer}.{ours}.{name}"] = getattr(theirs, name)
    prefix = "text_model." if any("text_model" in n for n in network.state_dict()) else ""
    left = network.load_state_dict({prefix + k: v for k, v in state.items()}, strict=False)
    assert left.unexpected_keys == []
    assert [name for name in left.missing_keys if "position_ids" not in name] == []

    encoder = clip(open_clip_folder)
    ids, mask = encoder.tokenize(["a red circle", "two"])
    assert ids.shape == (2, 12)
    assert mask.sum(1).tolist() == [5, 3]  # words, start and end
    with torch.no_grad():
        wanted = network(input_ids=ids, attention_mask=mask).pooler_output
    out = encoder.encode(["a red circle", "two"])["y"]
    assert out.shape == (2, 1, 1, 16)  # the width, not the embed_dim of the projection
    torch.testing.assert_close(out[:, 0, 0], wanted, atol=1e-5, rtol=1e-5)


def test_captions_of_open_clip_are_cut_with_their_end_kept(open_clip_folder):
    ids, mask = clip(open_clip_folder, model_max_length=4).tokenize(["one two three four five"])
    assert ids.shape == (1, 4)
    assert ids[0, -1] == open_clip.SimpleTokenizer().eot_token_id
    assert mask.sum() == 4


def test_the_types_and_identity_of_open_clip(open_clip_folder):
    half = clip(open_clip_folder, dtype="bf16")
    assert half.encode(["a"])["y"].dtype == torch.bfloat16
    assert half.to(dtype=torch.float32).encode(["a"])["y"].dtype == torch.float32
    identity = half.identity()
    assert (identity["tokenizer"], identity["output_dim"]) == ("SimpleTokenizer", 16)


def test_clip_reads_no_more_tokens_than_it_has_positions(open_clip_folder):
    for length in (21, 1):
        with pytest.raises(ConfigError, match=f"model_max_length is {length}, .* 2 to 20 tokens"):
            clip(open_clip_folder, model_max_length=length)


def test_classes_are_numbers_written_as_text():
    encoder = build_module({"type": "classes", "num_classes": 10}, MODELS)
    assert encoder.encode(["3", "0"])["y"].tolist() == [3, 0]
    assert encoder.null(2)["y"].tolist() == [10, 10]
    for wrong in ("10", "cat", "-1", ""):
        with pytest.raises(ConfigError, match="is not a class; give numbers from 0 to 9"):
            encoder.encode([wrong])
    assert encoder.identity() == {"type": "classes", "num_classes": 10}


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
