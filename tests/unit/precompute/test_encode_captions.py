import pandas as pd
import pytest
import torch
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from opensora.cli.main import main
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import StoreError
from opensora.precompute.text_encoding import TextEncoding
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.index import read_index

from .encoding import contents, data_files, encode_texts

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
    counts = encode_texts(manifest(), tmp_path, encoder)
    lengths = {text: len(text) + 1 for text in TEXTS}
    assert (counts["texts"], counts["encoded"], counts["found"]) == (3, 3, 0)
    assert counts["tokens"] == sum(lengths.values())
    store = EmbeddingStore(tmp_path / "run/texts")
    for name, text in zip(manifest()["id"], TEXTS, strict=True):
        tokens = store.get(name)
        assert tokens.shape == (lengths[text], 16)
        alone = encoder.encode([text])["y"][0, 0, : lengths[text]]
        torch.testing.assert_close(tokens, alone, atol=1e-5, rtol=1e-5)
    assert store.rows["row"].nunique() == 3
    assert store.identity["model_max_length"] == 12
    assert store.identity["dtype"] == "fp32"


def test_bf16_is_the_default_and_half_the_size(encoder, tmp_path):
    encode_texts(manifest(), tmp_path, encoder, TextEncoding())
    assert EmbeddingStore(tmp_path / "run/texts").get("c0").dtype == torch.bfloat16


def test_a_second_run_finds_all_and_a_changed_caption_is_one_text(encoder, tmp_path):
    encode_texts(manifest(), tmp_path, encoder)
    before = contents(tmp_path)
    again = encode_texts(manifest(), tmp_path, None)  # there is no encoder to load
    assert (again["found"], again["encoded"]) == (3, 0)
    assert contents(tmp_path) == before
    changed = manifest().replace("a dot", "two dots")
    counts = encode_texts(changed, tmp_path, encoder)
    assert (counts["found"], counts["encoded"]) == (2, 1)
    assert len(EmbeddingStore(tmp_path / "run/texts").get("c1")) == len("two dots") + 1


def test_shards_share_texts_and_another_run_finds_them(encoder, tmp_path):
    shards = [manifest().iloc[:2], manifest().iloc[2:]]  # both have "a red dot"
    counts = [
        encode_texts(rows, tmp_path, encoder, shard=k, num_shards=2)
        for k, rows in enumerate(shards)
    ]
    assert [(count["found"], count["encoded"]) for count in counts] == [(0, 2), (1, 1)]
    other = encode_texts(manifest(), tmp_path, None, run="b")
    assert other["found"] == 3
    one, all_ = EmbeddingStore(tmp_path / "run/texts"), EmbeddingStore(tmp_path / "b/texts")
    assert all(torch.equal(one.get(name), all_.get(name)) for name in manifest()["id"])


def test_many_small_files_of_texts_are_joined(encoder, tmp_path):
    texts = [f"text {k}" for k in range(17)]
    for k in range(17):
        rows = pd.DataFrame({"id": texts[: k + 1], "text": texts[: k + 1]})
        counts = encode_texts(rows, tmp_path, encoder)
    assert (counts["files"], len(data_files(tmp_path))) == (1, 18)
    store = EmbeddingStore(tmp_path / "run/texts")
    assert store.verify() > 0
    encode_texts(rows, tmp_path / "fresh", encoder)
    fresh = EmbeddingStore(tmp_path / "fresh/run/texts")
    assert all(torch.equal(store.get(text), fresh.get(text)) for text in texts)
    assert encode_texts(rows, tmp_path, None)["files"] == 1


def test_a_manifest_without_clips_gives_a_valid_empty_index(encoder, tmp_path):
    encode_texts(manifest().iloc[:0], tmp_path, None)
    assert len(EmbeddingStore(tmp_path / "run/texts")) == 0


class Broken:
    """Gives NaN for some texts, and no token for others."""

    model_max_length, output_dim = 12, 16

    def __init__(self, encoder, nan=(), nothing=()) -> None:
        self.encoder, self.nan, self.nothing = encoder, nan, nothing
        self.identity = encoder.identity

    def encode(self, texts):
        encoded = self.encoder.encode(texts)
        for row, text in enumerate(texts):
            if text in self.nan:
                encoded["y"][row] = float("nan")
            if text in self.nothing:
                encoded["mask"][row] = 0
        return encoded


def test_a_caption_without_an_embedding_is_a_row_with_its_reason(encoder, tmp_path, caplog):
    broken = Broken(encoder, nan=["a red dot"], nothing=[""])
    counts = encode_texts(manifest(), tmp_path, broken)
    assert (counts["encoded"], counts["rejected"]) == (1, 2)
    store = EmbeddingStore(tmp_path / "run/texts")
    assert store.rows["id"].tolist() == ["c1"]
    rejected = dict(zip(store.rejected["id"], store.rejected["status"], strict=True))
    assert rejected == {"c0": "bad_values", "c2": "bad_values", "c3": "no_token"}
    assert "NaN or infinity for the caption 'a red dot'" in caplog.text


def test_an_encoder_that_gives_nothing_at_all_is_refused(encoder, tmp_path):
    with pytest.raises(StoreError, match="none of 3 captions has an embedding, the first is bad_"):
        encode_texts(manifest(), tmp_path, Broken(encoder, nan=TEXTS))
    assert not (tmp_path / "run").exists()


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


def captions(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"c{k}" for k in range(len(texts))], "text": texts})


def test_the_encoder_sees_each_different_caption_once_and_the_gate_a_few_again(tmp_path):
    encoder = Lengths()
    encode_texts(captions("a", "bb", "a", "a", "bb", "a"), tmp_path, encoder)
    batch, again = encoder.texts[:32], encoder.texts[32:]
    assert batch == ["a"] + ["bb"] * 31  # a full batch, the last caption repeated
    assert again == ["bb", "a"]
    gate = read_index(tmp_path / "run/texts/0000.parquet")[1]["gate"]
    assert (gate["drift"], gate["captions"], gate["tokens"]) == (0.0, 2, 3)
    # [1, 1]; [2, 1], [2, 2]
    lengths = [2**0.5, 5**0.5, 8**0.5]
    assert gate["norm"] == pytest.approx([lengths[0], sum(lengths) / 3, lengths[2]], abs=1e-6)


def test_an_encoder_that_never_says_the_same_is_refused_and_runs_once(tmp_path):
    torch.manual_seed(0)
    with pytest.raises(StoreError, match="equal captions get embeddings that differ by"):
        encode_texts(captions("aaa", "bbbb"), tmp_path, Lengths(dropout=True))
    assert not (tmp_path / "run").exists()
    with pytest.raises(StoreError, match="equal captions get embeddings that differ by"):
        encode_texts(captions("aaa", "bbbb"), tmp_path, None)


def test_int8_is_reported_in_the_counts_and_by_the_gate(tmp_path):
    error = encode_texts(
        captions("aaa"), tmp_path, Lengths(), TextEncoding(dtype="fp32", int8=True)
    )
    # tokens [3, 1], [3, 2], [3, 3] with scale 3/127: 1 becomes 42 steps, 2 becomes 85
    lost = [42 * 3 / 127 - 1, 85 * 3 / 127 - 2]
    rms = (sum(x * x for x in lost) / (10 + 13 + 18)) ** 0.5
    assert error["int8_error"]["relative_rms"] == pytest.approx(rms, abs=1e-6)
    assert error["int8_error"]["worst_token"] == pytest.approx(abs(lost[0]) / 10**0.5, abs=1e-6)
    record = read_index(tmp_path / "run/texts/0000.parquet")[1]
    assert record["gate"]["int8_error"] == error["int8_error"]
    assert record["identity"]["int8"] is True


def test_captions_that_differ_behind_the_cut_are_told(encoder_folder, tmp_path, capsys):
    scene = "a wide static shot of a kitchen with a wooden table, four chairs and a white lamp, "
    ends = ("a cat jumps on the table", "a dog sleeps", "a man pours milk", "a woman leaves")
    texts = [f"{scene}{ends[k % 4]} {k}" for k in range(12)]
    rows = {"path": "a.mp4", "num_frames": 8, "height": 16, "width": 16}
    pd.DataFrame({"id": texts, "text": texts}).assign(**rows).to_csv(tmp_path / "m.csv")
    words = ["encode-captions", "--manifest", f"{tmp_path}/m.csv", "--device", "cpu"]
    words += ["--text-encoder", str(encoder_folder), "--store", f"{tmp_path}/store"]
    words += ["--output", f"{tmp_path}/index.parquet", "--max-length", "60"]
    lost = sum(len(text) + 1 - 60 for text in texts)
    told = f"12 of 12 captions are cut after 60 tokens and lose {lost} tokens, 12 are equal to"
    for _ in range(2):  # the second time from what is stored
        assert main(words) == 0
        said = capsys.readouterr()
        assert ", 12 cut, 720 tokens" in said.out
        _, record = read_index(tmp_path / "index.parquet")
        assert record["gate"]["cut"] == {"captions": 12, "tokens": lost, "alike": 12}
        assert told in record["gate"]["warnings"][0]


def several() -> pd.DataFrame:
    rows = [("c0", 0, "a dot"), ("c0", 1, "a red dot"), ("c1", 0, "a red dot"), ("c1", 1, "")]
    return pd.DataFrame(rows, columns=["id", "k", "text"])


def test_all_captions_of_a_clip_are_encoded_each_text_once(encoder, tmp_path):
    counts = encode_texts(several(), tmp_path, encoder)
    assert (counts["clips"], counts["texts"], counts["encoded"]) == (2, 3, 3)
    store = EmbeddingStore(tmp_path / "run/texts")
    assert store.rows["row"].nunique() == 3
    encode_texts(manifest(), tmp_path, None, run="other")  # the same texts, one a clip
    other = EmbeddingStore(tmp_path / "other/texts")
    assert torch.equal(store.get("c0", 1), other.get("c0"))
    assert torch.equal(store.get("c0"), other.get("c1"))
    assert torch.equal(store.get("c1", 1), other.get("c3"))
    one, many = (
        list(read_index(tmp_path / f"{run}/texts/0000.parquet")[0]) for run in ("other", "run")
    )
    assert many == [*one, "k"]


def test_a_second_caption_without_an_embedding_keeps_its_row_and_reason(encoder, tmp_path):
    encode_texts(several(), tmp_path, Broken(encoder, nothing=[""]))
    store = EmbeddingStore(tmp_path / "run/texts")
    assert store.rejected[["id", "k", "status"]].to_numpy().tolist() == [["c1", 1, "no_token"]]
    assert store.rows["k"].iloc[store.locate_all("c1")].tolist() == [0]


def test_the_command_takes_the_others_from_the_tables_of_captions(encoder_folder, tmp_path, capsys):
    clips = several().query("k == 0").drop(columns="k")
    sizes = {"path": "p", "num_frames": 1, "height": 8, "width": 8, "num_captions": [2, 1]}
    clips.assign(**sizes).to_csv(tmp_path / "manifest.csv", index=False)
    status = ["ok", "ok", "ok", "empty_caption"]
    table = several().assign(caption="", text_len=1, detail="", status=status)
    table.to_csv(tmp_path / "captions.csv", index=False)
    words = ["encode-captions", "--manifest", str(tmp_path / "manifest.csv")]
    words += ["--text-encoder", str(encoder_folder), "--store", str(tmp_path / "store")]
    words += ["--max-length", "12", "--device", "cpu", "--output"]
    captions = ["--captions", str(tmp_path / "captions.csv")]
    assert main([*words, str(tmp_path / "all/0000.parquet"), *captions]) == 0
    store = EmbeddingStore(tmp_path / "all")
    assert store.rows[["id", "k"]].to_numpy().tolist() == [["c0", 0], ["c0", 1], ["c1", 0]]
    assert main([*words, str(tmp_path / "first/0000.parquet")]) == 0
    assert EmbeddingStore(tmp_path / "first").rows["id"].tolist() == ["c0", "c1"]
    assert "left_out=1 second captions" in capsys.readouterr().err
    doctor = ["doctor", "--embeddings", str(tmp_path / "all"), "--device", "cpu"]
    doctor += ["--manifest", words[2], "--text-encoder", str(encoder_folder)]
    assert main(doctor) == 0
