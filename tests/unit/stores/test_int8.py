import pandas as pd
import pytest
import torch

from opensora.core.errors import StoreError
from opensora.stores.embeddings import (
    EmbeddingStore,
    is_embedding_file,
    write_embedding_index,
    write_embeddings,
)
from opensora.stores.int8 import dequantise, int8_error, quantise

IDENTITY = {"type": "t", "weights": "t1", "model_max_length": 6, "dtype": "fp32", "int8": True}
TEXTS = ["a", "b"]


def embeddings() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 8, generator=generator), torch.randn(5, 8, generator=generator)]


def fill(folder, identity=IDENTITY, rows=None):
    write_embeddings(folder / "t.safetensors", rows or embeddings(), TEXTS, identity)
    captions = pd.DataFrame({"id": ["c0", "c1", "c2"], "text": ["a", "b", "a"]})
    write_embedding_index(folder, ["t.safetensors"], captions, identity)
    return folder / "t.safetensors"


def test_each_token_is_rounded_with_its_own_scale():
    tokens = torch.tensor([[1.27, -0.64, 0.004], [254.0, 1.0, -3.0], [0.0, 0.0, 0.0]])
    values, scales = quantise(tokens)
    assert scales.tolist() == pytest.approx([0.01, 2.0, 0.0])
    # 0.4 of a step rounds to 0; 0.5 and 1.5 steps round to the even neighbour
    assert values.tolist() == [[127, -64, 0], [127, 0, -2], [0, 0, 0]]
    out = torch.empty(3, 3)
    dequantise(values, scales, out)
    expected = [[1.27, -0.64, 0.0], [254.0, 0.0, -4.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(out, torch.tensor(expected))


def test_int8_rows_come_back_within_half_a_step(tmp_path):
    fill(tmp_path)
    store = EmbeddingStore(tmp_path)
    for name, tokens in zip(("c0", "c1", "c2"), [*embeddings(), embeddings()[0]], strict=True):
        step = tokens.abs().amax(1, keepdim=True) / 127
        found = store.get(name)
        assert found.dtype == torch.float32
        assert bool(((found - tokens).abs() <= step / 2 * 1.001).all())
        assert not torch.equal(found, tokens)


def test_int8_rows_are_read_in_the_type_that_the_identity_names(tmp_path):
    fill(tmp_path / "bf16", {**IDENTITY, "dtype": "bf16"})
    fill(tmp_path / "fp32")
    narrow, wide = (EmbeddingStore(tmp_path / name).get("c1") for name in ("bf16", "fp32"))
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow, wide.bfloat16())


def test_the_error_of_a_file_is_measured_against_what_was_given(tmp_path):
    fill(tmp_path)
    store = EmbeddingStore(tmp_path)
    exact = torch.cat(embeddings()).double()
    lost = torch.cat([store.get("c0"), store.get("c1")]).double() - exact
    error = int8_error(tmp_path, ["t.safetensors"])
    assert error is not None
    assert error["relative_rms"] == pytest.approx(float(lost.norm() / exact.norm()), rel=1e-6)
    worst = float((lost.norm(dim=1) / exact.norm(dim=1)).max())
    assert error["worst_token"] == pytest.approx(worst, rel=1e-6)
    assert 0 < error["relative_rms"] <= error["worst_token"] < 0.02


def test_plain_rows_have_no_int8_error(tmp_path):
    fill(tmp_path, {"type": "t", "dtype": "fp32"})
    assert int8_error(tmp_path, ["t.safetensors"]) is None


@pytest.mark.parametrize("tensor", ["tokens", "scales"])
def test_a_flipped_bit_of_a_value_or_a_scale_is_found(tmp_path, tensor):
    path = fill(tmp_path)
    good = path.read_bytes()
    values, scales = quantise(embeddings()[1])
    position = good.index((values if tensor == "tokens" else scales).numpy().tobytes())
    bad = bytearray(good)
    bad[position + 1] ^= 1
    path.write_bytes(bytes(bad))
    store = EmbeddingStore(tmp_path)
    store.get("c0")
    with pytest.raises(StoreError, match=r"checksum of c1 fails.*`opensora encode-captions` for"):
        store.get("c1")


def test_a_file_with_any_flipped_byte_is_not_finished(tmp_path):
    path = fill(tmp_path)
    good = path.read_bytes()
    assert is_embedding_file(path, TEXTS, IDENTITY)
    assert not is_embedding_file(path, TEXTS[:1], IDENTITY)
    assert not is_embedding_file(path, TEXTS, {**IDENTITY, "int8": False})
    for position in range(0, len(good), 2):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        path.write_bytes(bytes(bad))
        assert not is_embedding_file(path, TEXTS, IDENTITY), position


def test_shards_with_and_without_int8_do_not_mix(tmp_path):
    write_embeddings(tmp_path / "0/t.safetensors", embeddings()[:1], ["a"], IDENTITY)
    captions = pd.DataFrame({"id": ["c0"], "text": ["a"]})
    write_embedding_index(tmp_path / "0", ["t.safetensors"], captions, IDENTITY)
    plain = {name: value for name, value in IDENTITY.items() if name != "int8"}
    write_embeddings(tmp_path / "1/t.safetensors", embeddings()[1:], ["b"], plain)
    write_embedding_index(
        tmp_path / "1", ["t.safetensors"], captions.replace({"a": "b", "c0": "c1"}), plain
    )
    with pytest.raises(StoreError, match=r"0: encoded with int8|1: encoded with int8"):
        EmbeddingStore(tmp_path)
