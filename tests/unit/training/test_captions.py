"""Captions of coming batches go through the text encoder together, each once."""

import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.models.text_encoder.t5 import T5Encoder
from opensora.training import captions
from opensora.training.captions import CaptionEncoder, batch_size

LENGTH = 60
TEXTS = [f"{'ab cd ' * (k % 9)}{k}" for k in range(40)]  # of 2 to 51 tokens


@pytest.fixture
def t5(video_world) -> T5Encoder:
    fields = {"from_pretrained": str(video_world / "t5"), "model_max_length": LENGTH}
    return build_module({"type": "t5", **fields}, MODELS)


@pytest.fixture
def calls(t5, monkeypatch) -> list[tuple[list[str], int | None]]:
    """What went through the network, batch by batch."""
    calls: list[tuple[list[str], int | None]] = []
    encode = t5.encode

    def count(texts, length=None):
        calls.append((texts, length))
        return encode(texts, length)

    monkeypatch.setattr(t5, "encode", count)
    return calls


def different(calls) -> list[list[str]]:
    return [list(dict.fromkeys(texts)) for texts, _ in calls]


def test_a_caption_is_encoded_once_and_padded_with_zeros(t5, calls):
    encoder = CaptionEncoder(t5)
    assert (encoder.max_length, encoder.text_dim) == (LENGTH, 16)
    calls.clear()
    y, mask = encoder.encode(["ab", "x" * 90, "ab"])
    again, _ = encoder.encode(["ab"])
    assert [(texts[0], length) for texts, length in calls] == [("ab", 16), ("x" * 90, LENGTH)]
    assert y.shape == (3, 1, LENGTH, 16)
    assert mask.sum(1).tolist() == [3, LENGTH, 3]  # bytes and the end of the text, cut to 60
    assert torch.equal(y[0], y[2])
    assert torch.equal(y[0], again[0])
    whole = t5.encode(["ab", "x" * 90])["y"]
    torch.testing.assert_close(y[0, 0, :3], whole[0, 0, :3])
    torch.testing.assert_close(y[1], whole[1])
    assert not y[0, 0, 3:].any()


@pytest.mark.parametrize("order", [1, -1, 7])
def test_an_embedding_does_not_depend_on_who_is_beside_it(t5, order):
    """The last bit included: a resumed run finds other captions new at the same time."""
    together, _ = CaptionEncoder(t5).encode(TEXTS)
    turned = sorted(TEXTS, key=lambda text: TEXTS.index(text) * order % 41)
    encoder = CaptionEncoder(t5)
    for start in range(0, len(turned), 3):
        batch = turned[start : start + 3]
        y, _ = encoder.encode(batch, turned[start + 3 :])
        for text, row in zip(batch, y, strict=True):
            assert torch.equal(row, together[TEXTS.index(text)])


def test_coming_captions_fill_the_batches_of_new_ones(t5, calls):
    encoder = CaptionEncoder(t5)
    calls.clear()
    same = [f"caption {k:02d}" for k in range(batch_size(16) + 5)]  # 11 tokens
    coming = iter([*same[1:], "a much longer caption than the others", "never read"])
    encoder.encode(same[:1], coming)
    assert different(calls) == [same[: batch_size(16)]]
    assert next(coming) == same[batch_size(16) + 1]  # one more was looked at than fits
    for start in range(0, batch_size(16), 2):
        encoder.encode(same[start : start + 2])
    assert len(calls) == 1
    encoder.encode(same[-1:])
    assert different(calls[1:]) == [same[-1:]]
    assert all(len(texts) == batch_size(16) for texts, _ in calls)


def test_what_the_cache_forgets_is_encoded_again(t5, calls, monkeypatch):
    monkeypatch.setattr(captions, "_CACHE_BYTES", 2 * 3 * 16 * 4)  # two captions of three tokens
    encoder = CaptionEncoder(t5)
    calls.clear()
    for text in ("ab", "cd", "ab", "ef", "ab", "cd"):
        encoder.encode([text])
    assert different(calls) == [["ab"], ["cd"], ["ef"], ["cd"]]  # the one used longest ago goes
    y, _ = encoder.encode(["ab", "cd", "ef", "gh"])  # more at once than it holds
    assert torch.equal(y[:2], CaptionEncoder(t5).encode(["ab", "cd"])[0])


def test_an_encoder_of_one_length_is_asked_for_no_other(video_world):
    fields = {"from_pretrained": str(video_world / "clip"), "model_max_length": 16}
    clip = build_module({"type": "clip", **fields}, MODELS)
    encoder = CaptionEncoder(clip)
    y, mask = encoder.encode(["ab", "cd e"], ["f"])
    torch.testing.assert_close(y, clip.encode(["ab", "cd e"])["y"])
    assert mask.tolist() == [[1], [1]]
