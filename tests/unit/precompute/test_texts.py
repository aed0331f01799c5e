"""Every text encoder fills a store: a vector a token, a vector a caption, or a class label."""

import argparse
import json

import pandas as pd
import pytest
import torch
from opensora.precompute.embedding_doctor import CaptionDoctor

from opensora.cli import encode_captions as encode_captions_command
from opensora.core.errors import ConfigError, StoreError
from opensora.models import text_encoder
from opensora.models.text_encoder import ClassEncoder
from opensora.precompute.encode_captions import encode_captions
from opensora.precompute.examine import examine_embeddings
from opensora.precompute.texts import build_text_encoder, stored_rows
from opensora.stores.embeddings import EmbeddingStore, write_embedding_index, write_embeddings
from opensora.stores.memory import BatchMemory

TYPES = ("t5", "clip", "classes")
NOTHING = {"from_pretrained": None, "max_length": None, "num_classes": None}


def build(kind: str, **fields):
    return build_text_encoder(kind, dtype="fp32", device="cpu", **NOTHING | fields)


def captions(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"c{k}" for k in range(len(texts))], "text": texts})


def test_there_is_a_type_for_every_text_encoder(video_world):
    folders = {"t5": video_world / "t5", "clip": video_world / "clip"}
    built = [
        build(kind, num_classes=3)
        if kind == "classes"
        else build(kind, from_pretrained=str(folders[kind]), max_length=16)
        for kind in TYPES
    ]
    assert {type(encoder).__name__ for encoder in built} == set(text_encoder.__all__)
    assert [encoder.identity()["type"] for encoder in built] == list(TYPES)
    parser = argparse.ArgumentParser()
    encode_captions_command.add_arguments(parser)
    option = next(action for action in parser._actions if action.dest == "type")
    assert (option.choices, option.default) == (TYPES, "t5")


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
    encode_captions(captions("box a", "box b", "box a"), encoder, tmp_path / "out", dtype="fp32")
    store = EmbeddingStore(tmp_path / "out")
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
        encode_captions(captions("abcd", "abce"), encoder, tmp_path / "out")


def test_class_labels_are_whole_numbers(tmp_path):
    texts = ["0", "7", "07", "0"]  # another text of the same class is no sign of a bad encoder
    counts = encode_captions(captions(*texts), ClassEncoder(9), tmp_path / "out")
    assert (counts["texts"], counts["tokens"]) == (3, 3)
    store = EmbeddingStore(tmp_path / "out")
    assert store.holds_labels
    assert store.max_length == 1
    assert store.identity.items() >= {"type": "classes", "num_classes": 9, "dtype": "int64"}.items()
    labels = [store.get(f"c{k}") for k in range(4)]
    assert all(label.dtype == torch.int64 and label.shape == (1, 1) for label in labels)
    assert [int(label) for label in labels] == [0, 7, 7, 0]
    report = json.loads((tmp_path / "out/doctor.json").read_text())
    assert (report["captions"], report["classes"], report["drift"]) == (3, 2, 0.0)
    assert (report["failures"], report["warnings"]) == ([], [])
    assert "some encoded again" in examine_embeddings(
        tmp_path / "out", text_encoder=None, manifest=captions(*texts), device="cpu"
    )


def test_a_caption_that_is_no_class_and_rounded_classes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'a cat' is not a class; give numbers from 0 to 8"):
        encode_captions(captions("1", "a cat"), ClassEncoder(9), tmp_path / "out")
    with pytest.raises(ConfigError, match="class labels are whole; leave it out"):
        encode_captions(captions("1"), ClassEncoder(9), tmp_path / "out", int8=True)


def test_the_doctor_finds_labels_that_are_no_classes_or_others_than_before(tmp_path):
    identity = {"type": "classes", "num_classes": 3, "num_tokens": 1}
    rows = [torch.tensor([[label]]) for label in (1, 5)]
    write_embeddings(tmp_path / "t.safetensors", rows, ["1", "2"], identity)
    write_embedding_index(tmp_path, ["t.safetensors"], captions("1", "2"), identity)
    doctor = CaptionDoctor(EmbeddingStore(tmp_path), captions("1", "2"))
    doctor.examine()
    doctor.encode_again(ClassEncoder(3))
    assert doctor.report["failures"][0] == "1 labels are none of the 3 classes, the first 5"
    assert "equal captions get embeddings that differ" in doctor.report["failures"][1]
