import json

import pandas as pd
import pytest
import torch
from opensora.precompute.embedding_doctor import CaptionDoctor

from opensora.core.errors import StoreError
from opensora.precompute.encode_captions import encode_captions
from opensora.stores.embeddings import (
    EmbeddingStore,
    write_embedding_index,
    write_embeddings,
)

IDENTITY = {"type": "t", "model_max_length": 4}


def store_of(folder, tokens: dict[str, torch.Tensor], captions: list[str]) -> EmbeddingStore:
    write_embeddings(folder / "t.safetensors", list(tokens.values()), list(tokens), IDENTITY)
    rows = pd.DataFrame({"id": [f"c{k}" for k in range(len(captions))], "text": captions})
    write_embedding_index(folder, ["t.safetensors"], rows, IDENTITY)
    return EmbeddingStore(folder)


def examined(store, manifest=None):
    doctor = CaptionDoctor(store, manifest)
    doctor.examine()
    return doctor


TOKENS = {"a": torch.tensor([[3.0, 4.0]]), "b": torch.tensor([[0.0, 1.0], [0.0, 12.0]])}


def test_the_report_counts_and_measures(tmp_path):
    report = examined(store_of(tmp_path, TOKENS, ["a", "b", "a"])).report
    assert (report["captions"], report["tokens"], report["bad_values"]) == (2, 3, 0)
    assert report["norm"] == pytest.approx([1.0, (5 + 1 + 12) / 3, 12.0])
    assert (report["alike"], report["failures"], report["warnings"]) == (0, [], [])


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[float("nan"), 1.0]]), "1 values are NaN or infinite"),
        (torch.tensor([[0.0, 0.0]]), "a token vector has length 0, it says nothing"),
        (TOKENS["a"], "2 different captions have the embedding of another one, such as 'a' and"),
    ],
)
def test_embeddings_that_say_nothing_stop_the_run_with_one_sentence(tmp_path, tokens, message):
    doctor = examined(store_of(tmp_path, {**TOKENS, "c": tokens}, ["a", "b", "c"]))
    with pytest.raises(StoreError, match=message) as error:
        doctor.require_health()
    assert "\n" not in str(error.value)
    assert "check the text encoder" in str(error.value)


def test_captions_that_were_cut_may_be_alike(tmp_path):
    cut = torch.ones(4, 2)  # as long as captions can be
    report = examined(store_of(tmp_path, {"x long": cut, "x longer": cut}, ["x long"])).report
    assert (report["alike"], report["failures"]) == (0, [])


def test_few_captions_that_are_alike_are_a_warning(tmp_path):
    tokens = {f"t{k:03d}": torch.tensor([[1.0, float(k)]]) for k in range(300)}
    tokens["twin"] = tokens["t000"]
    doctor = examined(store_of(tmp_path, tokens, list(tokens)))
    assert doctor.report["failures"] == []
    assert "'t000' and 'twin'" in doctor.report["warnings"][0]


def test_every_clip_of_the_manifest_must_point_to_its_own_caption(tmp_path):
    store = store_of(tmp_path, TOKENS, ["a", "b"])
    manifest = pd.DataFrame({"id": ["c0", "c1", "c2"], "text": ["a", "a", "a"]})
    assert examined(store, manifest).report["failures"] == [
        "1 clips of the manifest are absent, the first 'c2'",
        "1 clips have another caption, the first 'c1'",
    ]


class Lengths:
    """A text encoder: token k of a caption of n letters is [n, k + 1]."""

    output_dim, model_max_length = 2, 6

    def __init__(self, *, dropout: bool = False) -> None:
        self.texts: list[str] = []
        self.dropout = dropout

    def identity(self):
        return {"type": "lengths"}

    def encode(self, texts):
        self.texts += texts
        lengths = torch.tensor([len(text) for text in texts])
        y = torch.stack((lengths[:, None].expand(-1, 6), torch.arange(1, 7).expand(len(texts), 6)))
        y = y.permute(1, 2, 0)[:, None].float()  # [B, 1, L, 2]
        if self.dropout:
            y = torch.nn.functional.dropout(y, 0.1)
        return {"y": y, "mask": (torch.arange(6) < lengths[:, None]).long()}


def test_the_encoder_sees_each_different_caption_once_and_the_gate_a_few_again(tmp_path):
    manifest = pd.DataFrame({"id": [f"c{k}" for k in range(6)], "text": ["a", "bb", "a"] * 2})
    encoder = Lengths()
    encode_captions(manifest, encoder, tmp_path / "out", dtype="fp32")
    batch, again = encoder.texts[:32], encoder.texts[32:]
    assert batch == ["a"] + ["bb"] * 31  # a full batch, the last caption repeated
    assert again == ["bb", "a"]
    report = json.loads((tmp_path / "out/doctor.json").read_text())
    assert report["drift"] == 0.0
    assert report["captions"] == 2


def test_an_encoder_that_never_says_the_same_is_refused(tmp_path):
    manifest = pd.DataFrame({"id": ["c0", "c1"], "text": ["aaa", "bbbb"]})
    torch.manual_seed(0)
    with pytest.raises(StoreError, match="equal captions get embeddings that differ by"):
        encode_captions(manifest, Lengths(dropout=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial/doctor.json").is_file()
    assert not (tmp_path / "out.partial/index.parquet").exists()


def test_shards_hold_each_caption_once_and_together_all_clips(tmp_path):
    texts = ["a", "bb", "ccc", "dddd", "eeeee", "a", "bb"]
    manifest = pd.DataFrame({"id": [f"c{k}" for k in range(7)], "text": texts})
    counts = [
        encode_captions(
            manifest, Lengths(), tmp_path / "out" / str(k), dtype="fp32", shard=k, num_shards=3
        )
        for k in range(3)
    ]
    assert sum(count["texts"] for count in counts) == 5
    assert sum(count["clips"] for count in counts) == 7
    store = EmbeddingStore(tmp_path / "out")
    assert [len(store.get(f"c{k}")) for k in range(7)] == [1, 2, 3, 4, 5, 1, 2]
    assert examined(store, manifest).report["failures"] == []


def test_int8_is_reported_in_the_counts_and_by_the_doctor(tmp_path):
    manifest = pd.DataFrame({"id": ["c0"], "text": ["aaa"]})
    error = encode_captions(manifest, Lengths(), tmp_path / "out", dtype="fp32", int8=True)
    # tokens [3, 1], [3, 2], [3, 3] with scale 3/127: 1 becomes 42 steps, 2 becomes 85
    lost = [42 * 3 / 127 - 1, 85 * 3 / 127 - 2]
    rms = (sum(x * x for x in lost) / (10 + 13 + 18)) ** 0.5
    assert error["int8_error"]["relative_rms"] == pytest.approx(rms, rel=1e-4)
    assert error["int8_error"]["worst_token"] == pytest.approx(abs(lost[0]) / 10**0.5, rel=1e-4)
    report = json.loads((tmp_path / "out/doctor.json").read_text())
    assert report["int8_error"]["relative_rms"] == pytest.approx(rms, abs=1e-6)
    assert EmbeddingStore(tmp_path / "out").identity["int8"] is True
