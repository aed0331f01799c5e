import pandas as pd
import pytest
import torch
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import StoreError
from opensora.precompute.encode_captions import encode_captions
from opensora.stores.embeddings import EmbeddingStore

TEXTS = ["a red dot", "a dot", "a red dot", ""]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A byte-level T5 with random weights: a caption of n bytes has n + 1 tokens."""
    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    config = T5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(encoder_folder):
    config = {"type": "t5", "from_pretrained": str(encoder_folder), "model_max_length": 12}
    return build_module(config, MODELS)


def manifest() -> pd.DataFrame:
    return pd.DataFrame({"id": [f"c{i}" for i in range(4)], "text": TEXTS})


def test_each_different_caption_is_encoded_once_without_padding(encoder, tmp_path):
    counts = encode_captions(manifest(), encoder, tmp_path / "out", dtype="fp32")
    lengths = {text: len(text) + 1 for text in TEXTS}
    assert counts["texts"] == 3
    assert counts["tokens"] == sum(lengths.values())
    store = EmbeddingStore(tmp_path / "out")
    for name, text in zip(manifest()["id"], TEXTS, strict=True):
        tokens = store.get(name)
        assert tokens.shape == (lengths[text], 16)
        alone = encoder.encode([text])["y"][0, 0, : lengths[text]]
        torch.testing.assert_close(tokens, alone, atol=1e-5, rtol=1e-5)
    assert store.rows["row"].nunique() == 3
    assert store.identity["model_max_length"] == 12
    assert store.identity["dtype"] == "fp32"


def test_bf16_is_the_default_and_half_the_size(encoder, tmp_path):
    encode_captions(manifest(), encoder, tmp_path / "out")
    assert EmbeddingStore(tmp_path / "out").get("c0").dtype == torch.bfloat16


def test_a_second_run_keeps_the_files_until_the_captions_change(encoder, tmp_path):
    encode_captions(manifest(), encoder, tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert encode_captions(manifest(), encoder, tmp_path / "out")["kept"] == 1
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    changed = manifest().replace("a dot", "two dots")
    assert encode_captions(changed, encoder, tmp_path / "out")["kept"] == 0
    assert len(EmbeddingStore(tmp_path / "out").get("c1")) == len("two dots") + 1


def test_a_manifest_without_clips_gives_a_valid_empty_store(encoder, tmp_path):
    encode_captions(manifest().iloc[:0], encoder, tmp_path / "out")
    assert len(EmbeddingStore(tmp_path / "out")) == 0


def test_a_broken_encoder_is_named_with_the_caption(encoder, tmp_path):
    class Overflowing:
        model_max_length, output_dim = 12, 16
        identity = encoder.identity

        def encode(self, texts):
            encoded = encoder.encode(texts)
            return {"y": encoded["y"] / 0, "mask": encoded["mask"]}

    with pytest.raises(StoreError, match="NaN or infinity for the caption"):
        encode_captions(manifest(), Overflowing(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
