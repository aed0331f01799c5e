"""What the captions of a run say: their words, lengths and tokens."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from opensora.report.buckets import buckets
from opensora.report.collect import collect
from opensora.report.media import Media


def captions_of(run_dir: Path, texts: list[str], words: list[int]) -> dict:
    """The captions' part of the section, of a manifest of these texts."""
    run = collect(run_dir)
    clip = run.manifest.iloc[[0]]
    rows = [clip.assign(id=f"c{k}", text=text) for k, text in enumerate(texts)]
    manifest = pd.concat(rows, ignore_index=True).assign(text_len=words)
    found = buckets(replace(run, manifest=manifest), Media(run_dir / "media", "media"))
    assert found is not None
    return found["captions"]


def test_words_are_counted_once_a_caption_whatever_their_case(run_dir):
    texts = [
        "A cat, a CAT and 2 dogs",
        "the cat's don\u2019t",
        "\u00c9t\u00e9 \u732b\u732b x_y",
        "",
    ]
    found = captions_of(run_dir, texts, [6, 2, 3, 0])
    assert (found["captions"], found["distinct"]) == (4, 4)
    assert {one["word"]: one["clips"] for one in found["words"]} == {
        **{"cat": 2, "and": 1, "dogs": 1, "the": 1, "don": 1},
        **{"\u00e9t\u00e9": 1, "\u732b\u732b": 1},
    }
    assert found["words"][0] == {"word": "cat", "clips": 2}
    assert found["vocabulary"] == 7


def test_only_the_most_frequent_words_are_shown_of_a_large_vocabulary(run_dir):
    letters = "abcdefghij"
    vocabulary = [f"{first}{second}" for first in letters for second in letters]
    texts = [" ".join(vocabulary[: k + 1]) for k in range(100)]
    found = captions_of(run_dir, texts, list(range(1, 101)))
    assert found["vocabulary"] == 100
    assert [one["word"] for one in found["words"]] == vocabulary[:60]
    assert [one["clips"] for one in found["words"]] == list(range(100, 40, -1))


def test_lengths_have_bars_between_whole_edges_which_hold_every_caption(run_dir):
    found = captions_of(run_dir, ["x" * 5, "x" * 5, "x" * 7, "x" * 55], [3, 3, 4, 4])
    lengths = found["lengths"]
    assert set(lengths) == {"words of a caption", "characters of a caption"}  # none is encoded
    assert lengths["words of a caption"] == {
        "bars": [{"from": 3, "to": 3, "count": 2}, {"from": 4, "to": 4, "count": 2}],
        **{"median": 3.5, "low": 3, "high": 4},
    }
    characters = lengths["characters of a caption"]
    assert (characters["median"], characters["low"], characters["high"]) == (6.0, 5, 55)
    bars = characters["bars"]  # 51 lengths in at most 24 bars: three each
    assert (bars[0], bars[-1]) == (
        {"from": 5, "to": 7, "count": 3},
        {"from": 53, "to": 55, "count": 1},
    )
    assert [bar["from"] for bar in bars] == list(range(5, 56, 3))
    assert sum(bar["count"] for bar in bars) == 4


def test_captions_of_one_length_are_one_bar(run_dir):
    found = captions_of(run_dir, ["ab", "cd"], [1, 1])["lengths"]["words of a caption"]
    assert found == {"bars": [{"from": 1, "to": 1, "count": 2}], "median": 1, "low": 1, "high": 1}


@pytest.mark.parametrize("has_tokens", [True, False])
def test_tokens_are_those_of_encoded_captions_that_the_manifest_has(has_tokens, run_dir):
    (run_dir / "embeddings").mkdir()
    rows = [("0000", ["c0", "gone"], [7, 99]), ("0001", ["c1"], [9]), ("0002", [], [])]
    for shard, ids, tokens in rows:
        table = pd.DataFrame({"id": pd.Series(ids, dtype=object), "tokens": tokens})
        columns = ["id", "tokens"] if has_tokens else ["id"]
        table[columns].to_parquet(run_dir / f"embeddings/{shard}.parquet")
    lengths = captions_of(run_dir, ["a b", "c d e"], [2, 3])["lengths"]
    if not has_tokens:
        assert "tokens of a caption" not in lengths
        return
    found = lengths["tokens of a caption"]
    assert (found["low"], found["median"], found["high"]) == (7, 8.0, 9)
    assert [bar["count"] for bar in found["bars"]] == [1, 0, 1]


def test_a_run_without_captions_and_plans_has_no_section(run_dir):
    run = collect(run_dir)
    assert (
        buckets(replace(run, manifest=run.manifest.head(0), stages=[]), Media(run_dir, "m")) is None
    )
