"""Every text encoder fills a store: a vector a token, a vector a caption, or a class label."""

import argparse
from inspect import signature

import pandas as pd
import pytest
import torch

from opensora.cli import encode_captions as encode_captions_command
from opensora.config.registry import MODELS
from opensora.config.text_types import TEXT_LENGTHS, TEXT_TYPES
from opensora.core.errors import ConfigError, StoreError
from opensora.models import text_encoder
from opensora.models.text_encoder import ClassEncoder
from opensora.precompute.examine import examine_embeddings
from opensora.precompute.text_encoding import TextEncoding
from opensora.precompute.texts import build_text_encoder, stored_rows
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.index import read_index
from opensora.stores.memory import BatchMemory
from tests import tiny_open, tiny_open_hunyuan, tiny_open_ltx2, tiny_open_sana, tiny_stores

from .encoding import encode_texts

CLASSES = TextEncoding(kind="classes", num_classes=9)
NOTHING = {"from_pretrained": None, "max_length": None, "num_classes": None}


def build(kind: str, **fields):
    return build_text_encoder(kind, dtype="fp32", device="cpu", **NOTHING | fields)


def captions(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"c{k}" for k in range(len(texts))], "text": texts})


def test_there_is_a_type_for_every_text_encoder(video_world, tmp_path):
    folders = {"t5": video_world / "t5", "clip": video_world / "clip"}
    folders["umt5"] = tiny_open.wan(tmp_path / "wan")
    folders["t5-ltx"] = folders["t5-cogvideox"] = folders["t5"]
    folders["qwen-hunyuan"] = tiny_open_hunyuan.hunyuan(tmp_path / "hunyuan")
    folders["gemma-sana"] = tiny_open_sana.sana(tmp_path / "sana")
    folders["gemma-ltx2"] = tiny_open_ltx2.ltx2(tmp_path / "ltx2")
    built = [
        build(kind, num_classes=3)
        if kind == "classes"
        else build(
            kind,
            from_pretrained=str(folders[kind]),
            max_length=272 if kind == "qwen-hunyuan" else 16,
        )
        for kind in TEXT_TYPES
    ]
    assert {type(encoder).__name__ for encoder in built} == set(text_encoder.__all__)
    assert [encoder.identity()["type"] for encoder in built] == list(TEXT_TYPES)
    parser = argparse.ArgumentParser()
    encode_captions_command.add_arguments(parser)
    option = next(action for action in parser._actions if action.dest == "type")
    assert (option.choices, option.default) == (TEXT_TYPES, "t5")


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        ("t5", {}, "--type t5 needs --text-encoder"),
        ("classes", {}, "--type classes needs --num-classes"),
        ("classes", {"num_classes": 0}, "--num-classes 0: expected at least 1"),
        ("classes", {"num_classes": 2, "from_pretrained": "x"}, "--text-encoder x has no effect"),
        ("classes", {"num_classes": 2, "max_length": 9}, "--max-length 9 has no effect"),
        ("clip", {"from_pretrained": "x", "num_classes": 2}, "with --type clip; leave it out"),
        ("t5", {"from_pretrained": "x", "max_length": 0}, "--max-length 0: expected at least 1"),
    ],
)
def test_only_what_a_type_takes_may_be_given(kind, fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build(kind, **fields)


def test_padding_is_left_out_and_what_has_none_is_stored_whole():
    tokens = torch.arange(12.0).view(2, 1, 3, 2)
    padded = stored_rows({"y": tokens, "mask": torch.tensor([[1, 0, 0], [1, 1, 0]])})
    assert [row.tolist() for row in padded] == [[[0, 1]], [[6, 7], [8, 9]]]
    assert [len(row) for row in stored_rows({"y": tokens})] == [3, 3]
    assert [row.tolist() for row in stored_rows({"y": torch.tensor([4, 7])})] == [[[4]], [[7]]]


def test_a_pooled_text_is_one_token_of_the_store(video_world, tmp_path):
    encoder = build("clip", from_pretrained=str(video_world / "clip"), max_length=16)
    encoding = TextEncoding(kind="clip", dtype="fp32", max_length=16)
    encode_texts(captions("box a", "box b", "box a"), tmp_path, encoder, encoding)
    store = EmbeddingStore(tmp_path / "run/texts")
    assert store.max_length == 1
    assert (store.identity["type"], store.identity["model_max_length"]) == ("clip", 16)
    for name, text in {"c0": "box a", "c1": "box b"}.items():
        torch.testing.assert_close(store.get(name), encoder.encode([text])["y"][0, 0])
    batch, lengths = store.read([0, 1], store.max_length, BatchMemory(pinned=False))
    assert batch.shape == (2, 1, 16)
    assert lengths.tolist() == [1, 1]


def test_pooled_captions_that_can_not_be_told_apart_stop_the_run(video_world, tmp_path):
    encoder = build("clip", from_pretrained=str(video_world / "clip"), max_length=4)
    with pytest.raises(StoreError, match="have the embedding of another one"):
        encode_texts(captions("abcd", "abce"), tmp_path, encoder, TextEncoding(kind="clip"))


def test_class_labels_are_whole_numbers(tmp_path):
    texts = ["0", "7", "07", "0"]  # another text of the same class is no sign of a bad encoder
    counts = encode_texts(captions(*texts), tmp_path, ClassEncoder(9), CLASSES)
    assert (counts["texts"], counts["tokens"]) == (3, 3)
    store = EmbeddingStore(tmp_path / "run/texts")
    assert store.holds_labels
    assert store.max_length == 1
    assert store.identity.items() >= {"type": "classes", "num_classes": 9, "dtype": "int64"}.items()
    labels = [store.get(f"c{k}") for k in range(4)]
    assert all(label.dtype == torch.int64 and label.shape == (1, 1) for label in labels)
    assert [int(label) for label in labels] == [0, 7, 7, 0]
    gate = read_index(tmp_path / "run/texts/0000.parquet")[1]["gate"]
    assert (gate["captions"], gate["drift"], gate["warnings"]) == (3, 0.0, [])
    assert "some encoded again" in examine_embeddings(
        tmp_path / "run/texts", text_encoder=None, manifest=captions(*texts), device="cpu"
    )


def test_a_caption_that_is_no_class_is_a_row_and_rounded_classes_are_refused(tmp_path):
    counts = encode_texts(captions("1", "a cat", "2"), tmp_path, ClassEncoder(9), CLASSES)
    assert (counts["encoded"], counts["rejected"]) == (2, 1)
    store = EmbeddingStore(tmp_path / "run/texts")
    assert [int(store.get(name)) for name in ("c0", "c2")] == [1, 2]
    (row,) = store.rejected.itertuples()
    assert (row.id, row.status) == ("c1", "no_class")
    assert row.detail == "text 'a cat' is not a class; give numbers from 0 to 8"
    with pytest.raises(ConfigError, match="class labels are whole; leave it out"):
        TextEncoding(kind="classes", num_classes=9, int8=True)


def test_the_doctor_finds_labels_that_are_no_classes_or_others_than_before(tmp_path):
    identity = {"type": "classes", "num_classes": 3, "num_tokens": 1}
    for name, label, message in (
        ("a", 5, "1 labels are none of the classes"),
        ("b", 2, "equal captions get embeddings that differ"),
    ):
        index = tmp_path / name / "run/0000.parquet"
        tokens = {text: torch.tensor([[value]]) for text, value in {"1": 1, "0": label}.items()}
        tiny_stores.fill_embeddings(index, tokens, {"c0": "1", "c1": "0"}, identity)
        with pytest.raises(StoreError, match=message):
            examine_embeddings(index, text_encoder=None, manifest=captions("1", "0"), device="cpu")


def test_the_lengths_where_nothing_is_asked_for_are_those_of_the_encoders():
    for kind, length in TEXT_LENGTHS.items():
        made = signature(MODELS.get(kind)).parameters["model_max_length"].default
        assert made == length
        encoding = TextEncoding(kind=kind)
        assert encoding.address("x") == TextEncoding(kind=kind, max_length=length).address("x")
        assert encoding.address("x") != TextEncoding(kind=kind, max_length=9).address("x")
