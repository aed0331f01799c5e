import pytest
import torch

from opensora.core.errors import StoreError
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.int8 import dequantise, quantise, rounding_error
from tests import tiny_stores

IDENTITY = {"type": "t", "weights": "t1", "model_max_length": 6, "dtype": "fp32", "int8": True}
TEXTS = ["a", "b"]


def embeddings() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 8, generator=generator), torch.randn(5, 8, generator=generator)]


def fill(folder, identity=IDENTITY):
    tokens = dict(zip(TEXTS, embeddings(), strict=True))
    captions = {"c0": "a", "c1": "b", "c2": "a"}
    return tiny_stores.fill_embeddings(folder / "0000.parquet", tokens, captions, identity)


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
    fill(tmp_path / "run")
    store = EmbeddingStore(tmp_path / "run")
    for name, tokens in zip(("c0", "c1", "c2"), [*embeddings(), embeddings()[0]], strict=True):
        step = tokens.abs().amax(1, keepdim=True) / 127
        found = store.get(name)
        assert found.dtype == torch.float32
        assert bool(((found - tokens).abs() <= step / 2 * 1.001).all())
        assert not torch.equal(found, tokens)


def test_int8_rows_are_read_in_the_type_that_the_identity_names(tmp_path):
    folders = [tmp_path / name / "run" for name in ("bf16", "fp32")]
    for folder in folders:
        fill(folder, {**IDENTITY, "dtype": folder.parent.name})
    narrow, wide = (EmbeddingStore(folder).get("c1") for folder in folders)
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow, wide.bfloat16())


def test_the_error_of_a_file_is_measured_against_what_was_given(tmp_path):
    fill(tmp_path / "run")
    store = EmbeddingStore(tmp_path / "run")
    exact = torch.cat(embeddings()).double()
    lost = torch.cat([store.get("c0"), store.get("c1")]).double() - exact
    sums = rounding_error(embeddings(), [quantise(tokens) for tokens in embeddings()])
    errors, squares = lost.square().sum(1), exact.square().sum(1)
    assert sums[:2] == pytest.approx((float(errors.sum()), float(squares.sum())), rel=1e-6)
    assert sums[2] == pytest.approx(float((errors / squares).max()), rel=1e-6)
    assert 0 < sums[0] / sums[1] <= sums[2] < 0.02**2


@pytest.mark.parametrize("tensor", ["tokens", "scales"])
def test_a_flipped_bit_of_a_value_or_a_scale_is_found(tmp_path, tensor):
    path = fill(tmp_path / "run")
    good = path.read_bytes()
    values, scales = quantise(embeddings()[1])
    position = good.index((values if tensor == "tokens" else scales).numpy().tobytes())
    bad = bytearray(good)
    bad[position + 1] ^= 1
    path.write_bytes(bytes(bad))
    store = EmbeddingStore(tmp_path / "run")
    store.get("c0")
    with pytest.raises(StoreError, match=r"checksum of c1 fails.*`opensora encode-captions` again"):
        store.get("c1")


def test_shards_with_and_without_int8_do_not_mix(tmp_path):
    folder = tmp_path / "run"
    first, second = (dict([pair]) for pair in zip(TEXTS, embeddings(), strict=True))
    tiny_stores.fill_embeddings(folder / "0000.parquet", first, {"c0": "a"}, IDENTITY)
    plain = {name: value for name, value in IDENTITY.items() if name != "int8"}
    tiny_stores.fill_embeddings(folder / "0001.parquet", second, {"c1": "b"}, plain)
    with pytest.raises(StoreError, match=r"0001\.parquet: encoded with int8"):
        EmbeddingStore(folder)
