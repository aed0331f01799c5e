import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from opensora.core.errors import ConfigError
from opensora.core.io import sha256_file
from opensora.encoders.train_text_encoder import TextEncoderConfig, hide, train_text_encoder
from opensora.models.text_encoder.t5 import T5Encoder
from opensora.models.text_encoder.umt5 import UMT5Encoder

TINY = TextEncoderConfig(
    d_model=32, d_ff=64, num_layers=1, num_heads=2, num_steps=180, batch_size=8, log_every=60
)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text_encoder") / "text_encoder"
    train_text_encoder(TINY, [world.captions], folder)
    return folder


def test_the_loss_falls(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [60, 120, 180]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]


def test_the_folder_loads_as_a_byte_level_t5(trained: Path) -> None:
    encoder = T5Encoder(str(trained), model_max_length=12)
    encoded = encoder.encode(["a red", ""])
    assert encoder.identity()["tokenizer"] == "ByT5Tokenizer"
    assert encoded["y"].shape == (2, 1, 12, 32)
    # five bytes and the end token; the end token alone
    assert encoded["mask"].sum(dim=1).tolist() == [6, 1]


def test_a_umt5_is_trained_as_one(world, tmp_path: Path) -> None:
    config = replace(TINY, type="umt5", num_steps=2, num_layers=2)
    train_text_encoder(config, [world.captions], tmp_path / "umt5")
    encoded = UMT5Encoder(str(tmp_path / "umt5"), model_max_length=12).encode(["a red"])
    assert encoded["y"].shape == (1, 1, 12, 32)
    with pytest.raises(ConfigError, match="expected 't5' or 'umt5'"):
        replace(TINY, type="t6")


def test_words_are_told_apart(trained: Path) -> None:
    report = json.loads((trained / "words.json").read_text())
    assert report["trained_on"]["captions"] > 0
    # colours: 1 + 2 pairs, directions: 2 pairs
    assert report["num_pairs"] == 5
    assert report["word_cosine_max"] < 0.9


def test_equal_seeds_give_equal_bytes(world, trained: Path, tmp_path: Path) -> None:
    train_text_encoder(TINY, [world.captions], tmp_path / "again")
    name = "model.safetensors"
    assert sha256_file(tmp_path / "again" / name) == sha256_file(trained / name)


def test_bytes_are_hidden_at_their_rate_and_words_as_a_whole() -> None:
    # 4000 captions of 20 words of 4 letters, ids 3 above the bytes
    ids = torch.tensor(list(b"word " * 20)).add(3).repeat(4000, 1)
    hidden = hide(ids, 0.2, torch.Generator().manual_seed(0))
    # a byte shows only if neither its word (0.1) nor itself (0.2) is hidden: 1 - 0.9 * 0.8
    assert hidden.float().mean() == pytest.approx(0.28, abs=0.01)
    # all four letters of a word: 0.1 + 0.9 * 0.2 ** 4; single bytes alone would give 0.006
    words = hidden.view(4000, 20, 5)[..., :4].all(dim=-1)
    assert words.float().mean() == pytest.approx(0.1 + 0.9 * 0.2**4, abs=0.015)


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"d_model is 30.*multiple of num_heads"):
        TextEncoderConfig(d_model=30, num_heads=4)
