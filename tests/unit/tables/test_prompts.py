"""Tables of prompts with references."""

from pathlib import Path

import pandas as pd
import pytest

from opensora.core.errors import ConfigError
from opensora.tables.prompts import PromptRow, is_prompt_table, read_prompt_table

ROWS = [
    PromptRow("a cat, asleep", "mine/cat.png", "0"),
    PromptRow("a dog"),
    PromptRow("42", "a.png;b.png", "0;0,1,0,-1"),
    PromptRow("", "c.png", "0"),
]


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.CSV", "p.parquet", "p.jsonl", "p.json"])
def test_rows_are_read_in_their_order_whatever_the_format(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = pd.DataFrame([*ROWS, PromptRow("")])
    if name.endswith("parquet"):
        table.to_parquet(path)
    elif name.endswith("l"):
        table.to_json(path, orient="records", lines=True)
    elif name.endswith("json"):
        table.to_json(path, orient="records")
    else:
        table.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    assert is_prompt_table(path)
    assert read_prompt_table(path) == ROWS


def test_a_table_may_call_its_prompts_so_and_have_no_references(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt\na cat\n")
    assert read_prompt_table(tmp_path / "p.csv") == [PromptRow("a cat")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("reference_path\na.png\n", "column 'text' is missing"),
        ("id,path,text\n1,a.mp4,a cat\n", "unknown column 'id'"),
        ("text,reference\na cat,a.png\n", "did you mean 'reference_path'"),
        ("text,reference_path\n,\n", "empty; write a prompt a row"),
    ],
)
def test_a_table_that_can_not_be_meant_is_explained(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ConfigError, match=words) as error:
        read_prompt_table(tmp_path / "p.csv")
    assert str(tmp_path / "p.csv") in str(error.value)


def test_a_missing_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such table"):
        read_prompt_table(tmp_path / "p.csv")
    assert not is_prompt_table("prompts.txt")
