"""Tokenizers of folders: T5 by sentencepiece's file alone, and no folder without words."""

import io
import json
import sys

import pytest
import torch
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError
from opensora.curation.captions.generated import TransformersCaptioner
from opensora.models.clip_model import ClipModel, load_clip, save_clip
from opensora.models.text_encoder.vocabulary import check_words, load_tokenizer
from tests.tiny_encoders import TEXT_LENGTH, save_t5
from tests.tiny_encoders import save_clip as save_clip_text

SENTENCES = (
    "a red square moves to the left, slowly at first, then faster",
    "two blue circles on a wooden table",
    "the camera pans over a forest in the fog",
    "a small shop at night with rain on the glass",
    "a dog and a cat run along the beach at sunset",
)
CAPTIONS = (
    *SENTENCES,
    "A RED, squäre — moves!",
    "  two   blue  ",
    "\ufb01ne \u00bd \uff21",  # what the rules of the vocabulary bring to usual letters
    "",
    "\u65e5\u672c a",
    "a\ttab\nand a line",
)
T5 = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def pieces():
    """Bytes of a spiece.model made as those of T5 are: a unigram model, padding first."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5), model_writer=model, vocab_size=90,
        model_type="unigram", hard_vocab_limit=False, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
    )  # fmt: skip
    return model.getvalue()


def t5_folder(folder, pieces, config=True):
    """As DeepFloyd/t5-v1_1-xxl on the hub: spiece.model and no tokenizer.json."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    T5EncoderModel(T5Config(vocab_size=192, **T5)).save_pretrained(folder)
    (folder / "spiece.model").write_bytes(pieces)
    if config:
        given = {"tokenizer_class": "T5Tokenizer", "extra_ids": 100, "model_max_length": 512}
        given |= {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
        given |= {"additional_special_tokens": [f"<extra_id_{k}>" for k in range(100)]}
        (folder / "tokenizer_config.json").write_text(json.dumps({**given, "sp_model_kwargs": {}}))
    return folder


def t5(folder):
    config = {"type": "t5", "from_pretrained": str(folder), "model_max_length": 40}
    return build_module(config, MODELS)


@pytest.mark.parametrize("config", [True, False])
def test_a_t5_of_spiece_model_alone_reads_as_sentencepiece_does(tmp_path, pieces, config):
    folder = t5_folder(tmp_path / "t5", pieces, config)
    assert not (folder / "tokenizer.json").exists()
    encoder = t5(folder)
    ids, mask = encoder.tokenize(list(CAPTIONS))
    slow = SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    for caption, row, length in zip(CAPTIONS, ids, mask.sum(1), strict=True):
        assert row[:length].tolist() == [*slow.encode(caption), slow.eos_id()], caption
        assert not row[length:].any()  # padding
    assert not (ids[: len(SENTENCES)] == slow.unk_id()).any()
    out = encoder.encode(list(CAPTIONS))
    assert out["y"].shape == (len(CAPTIONS), 1, 40, 16)
    assert out["y"].isfinite().all()
    assert torch.equal(out["mask"], mask)


def test_a_folder_with_tokenizer_json_gives_the_same_ids(tmp_path, pieces):
    bare = t5(t5_folder(tmp_path / "bare", pieces))
    ready = t5_folder(tmp_path / "ready", pieces)
    AutoTokenizer.from_pretrained(ready).save_pretrained(ready)
    (ready / "spiece.model").unlink()
    assert (ready / "tokenizer.json").is_file()
    encoder = t5(ready)
    assert torch.equal(encoder.tokenize(list(CAPTIONS))[0], bare.tokenize(list(CAPTIONS))[0])
    assert encoder.identity() == bare.identity()
    assert torch.equal(encoder.encode(["a dog"])["y"], bare.encode(["a dog"])["y"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is damaged or cut off"),
        (None, "is damaged or cut off"),  # the first half
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
            "is only a pointer of Git LFS",
        ),
        (b"<!DOCTYPE html>", "is a web page"),
    ],
)
def test_a_damaged_vocabulary_is_named(tmp_path, pieces, content, sentence):
    half = pieces[: len(pieces) // 2]
    folder = t5_folder(tmp_path / "t5", half if content is None else content)
    with pytest.raises(CheckpointError, match=rf"spiece\.model {sentence}") as error:
        t5(folder)
    assert "tiktoken" not in str(error.value)


def test_without_sentencepiece_the_message_names_it(tmp_path, pieces, monkeypatch):
    folder = t5_folder(tmp_path / "t5", pieces)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(CheckpointError, match="pip install sentencepiece") as error:
        t5(folder)
    assert "tiktoken" not in str(error.value)


NAMED = {
    "T5Tokenizer": "t5", "CLIPTokenizer": "clip", "BertTokenizer": "bert",
    "GPT2Tokenizer": "gpt2", "LlamaTokenizer": "llama", "Qwen2Tokenizer": "qwen2",
    "RobertaTokenizer": "roberta", "XLMRobertaTokenizer": "xlm-roberta",
    "GemmaTokenizer": "gemma", "PreTrainedTokenizerFast": "t5",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_a_folder_without_any_vocabulary_is_refused(tmp_path, name):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": NAMED[name]}))
    with pytest.raises(CheckpointError, match=r"holds no vocabulary|can not be loaded") as error:
        load_tokenizer(tmp_path, kind="t5 tokenizer")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("CLIPTokenizer", {"vocab.json": '{"a": 0}'}),  # merges.txt was not copied
        ("CLIPTokenizer", {"vocab.json": "{}", "merges.txt": "#version: 0.2\na b\n"}),
        ("BertTokenizer", {"vocab.txt": ""}),
        ("T5Tokenizer", {"tokenizer.json": "{}"}),
    ],
)
def test_half_a_vocabulary_is_one_sentence(tmp_path, name, files):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": NAMED[name]}))
    for file, content in files.items():
        (tmp_path / file).write_text(content)
    with pytest.raises(CheckpointError, match=f"tokenizer: {tmp_path} (can not|holds no)"):
        load_tokenizer(tmp_path, kind="t5 tokenizer")


def test_a_vocabulary_of_special_tokens_alone_is_none(tmp_path, pieces):
    folder = t5_folder(tmp_path / "t5", pieces)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] = content["model"]["vocab"][:3]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="holds no vocabulary, so every word"):
        t5(folder)


def test_encoders_without_their_vocabulary_are_refused(tmp_path, pieces):
    folder = t5_folder(tmp_path / "t5", pieces)
    (folder / "spiece.model").unlink()
    with pytest.raises(CheckpointError, match=r"t5 tokenizer: .*t5 holds no vocabulary"):
        t5(folder)
    clip = save_clip_text(tmp_path / "clip")
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        (clip / name).unlink(missing_ok=True)
    config = {"type": "clip", "from_pretrained": str(clip), "model_max_length": TEXT_LENGTH}
    with pytest.raises(CheckpointError, match=r"clip tokenizer: .*clip holds no vocabulary"):
        build_module(config, MODELS)


def test_code_beside_a_vocabulary_never_runs_and_nobody_is_asked_to(tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    (tmp_path / "own.py").write_text(f"open({str(canary)!r}, 'w')\nclass Own: pass\n")
    auto_map = {"auto_map": {"AutoTokenizer": ["own.Own", None]}}
    own = {"tokenizer_class": "Own", **auto_map}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(own))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", **auto_map}))

    def ask(*words):
        pytest.fail("a question on the terminal")

    monkeypatch.setattr("builtins.input", ask)
    with pytest.raises(CheckpointError, match="needs code of its own, which is never run") as error:
        load_tokenizer(tmp_path, kind="T5")
    assert "trust_remote_code" not in str(error.value)
    assert not canary.exists()


def test_bytes_need_no_vocabulary(tmp_path):
    tokenizer = load_tokenizer(save_t5(tmp_path), kind="t5 tokenizer")
    check_words(tokenizer, tmp_path, kind="t5 tokenizer")
    assert tokenizer("ab")["input_ids"] == [ord("a") + 3, ord("b") + 3, 1]


def test_a_vocabulary_larger_than_the_network_is_that_of_another(tmp_path, pieces):
    folder = t5_folder(tmp_path / "t5", pieces)
    T5EncoderModel(T5Config(vocab_size=100, **T5)).save_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"tokens up to \d+ and embeddings of 100"):
        t5(folder)


def test_a_captioner_without_a_vocabulary_or_with_half_its_weights(blip_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in blip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if "mlp.fc1.weight" in name)
    save_file({n: v for n, v in weights.items() if n != lost}, tmp_path / "model.safetensors",
              {"format": "pt"})  # fmt: skip
    with pytest.raises(CheckpointError, match=r"captioner: .* lacks 1 weights"):
        TransformersCaptioner(str(tmp_path), device="cpu")
    for name in ("vocab.txt", "tokenizer.json"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"captioner: .* holds no vocabulary"):
        TransformersCaptioner(str(tmp_path), device="cpu")


class TestClipModel:
    """Of scores and evaluation: its words are open_clip's own unless it names others."""

    def folder(self, target, **text):
        own = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
        vision = {"image_size": 8, "patch_size": 4, "width": 16, "head_width": 8, "layers": 1}
        model = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": own}
        save_clip(target, ClipModel({"model_cfg": model}))
        file = target / "open_clip_config.json"
        config = json.loads(file.read_text())
        config["model_cfg"]["text_cfg"].update(text)
        file.write_text(json.dumps(config))
        return target

    def test_words_of_another_vocabulary(self, tmp_path):
        folder = self.folder(tmp_path / "clip", vocab_size=32000)
        with pytest.raises(CheckpointError, match="read by another vocabulary than CLIP's"):
            load_clip(folder)

    def test_words_that_are_named_and_not_there(self, tmp_path):
        folder = self.folder(tmp_path / "clip", hf_tokenizer_name="bert-base-uncased")
        with pytest.raises(CheckpointError, match="clip"):
            load_clip(folder)

    def test_names_with_wrappers_and_half_a_model(self, tmp_path):
        from safetensors.torch import load_file, save_file

        folder = self.folder(tmp_path / "clip")
        whole = load_clip(folder)
        file = folder / "open_clip_model.safetensors"
        weights = load_file(file)
        save_file({f"module._orig_mod.{name}": value for name, value in weights.items()}, file)
        again = load_clip(folder)
        assert torch.equal(whole.encode_texts(["a dog"]), again.encode_texts(["a dog"]))
        del weights["visual.proj"]
        save_file(weights, file)
        with pytest.raises(CheckpointError, match=r"lacks 1 weights \(first: visual\.proj\)"):
            load_clip(folder)
