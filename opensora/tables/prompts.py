"""Tables of prompts: a row for each, with the references that its samples begin from."""

from pathlib import Path
from typing import NamedTuple

from opensora.core.errors import ConfigError, TableError, did_you_mean
from opensora.tables.columns import MASK_STRATEGY, PROMPT, REFERENCE_PATH, TEXT
from opensora.tables.io import read_table

SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".json", ".jsonl"})
REFERENCES = "references"  # folder beside samples, of what is fetched and of first frames
_COLUMNS = (TEXT, REFERENCE_PATH, MASK_STRATEGY)


class PromptRow(NamedTuple):
    """One prompt.

    Attributes:
        text: of it.
        reference_path: files separated by ";", None for none.
        mask_strategy: rules, None for none.
    """

    text: str
    reference_path: str | None = None
    mask_strategy: str | None = None


def is_prompt_table(path: str | Path) -> bool:
    """Whether prompts of this name are a table and not a text file."""
    return Path(path).suffix.lower() in SUFFIXES


def read_prompt_table(path: str | Path) -> list[PromptRow]:
    """Read prompts in the order of a table; rows with nothing in them do not count.

    Args:
        path: with the column `text` or `prompt`, and maybe reference_path and mask_strategy.

    Raises:
        ConfigError: it is no table, has no prompt, or a column that no sample is made from.
    """
    try:
        table = read_table(path)
    except TableError as error:
        raise ConfigError(str(error)) from error
    if TEXT not in table:
        table = table.rename(columns={PROMPT: TEXT})
    if TEXT not in table:
        raise ConfigError(f"{path}: column 'text' is missing; write a prompt a row into it")
    for name in table.columns:
        if name not in _COLUMNS:
            raise ConfigError(
                f"{path}: unknown column {name!r}{did_you_mean(name, _COLUMNS)}; a table of prompts"
                f" has {', '.join(_COLUMNS)}"
            )
    cells = table.reindex(columns=list(_COLUMNS), fill_value="")
    rows = [[str(cell).strip() for cell in row] for row in cells.itertuples(index=False)]
    prompts = [
        PromptRow(text, path or None, rules or None) for text, path, rules in filter(any, rows)
    ]
    if not prompts:
        raise ConfigError(f"{path}: the table of prompts is empty; write a prompt a row")
    return prompts


def reference_picture(sha256: str) -> str:
    """Where the first frame of a reference stands, from the folder of the samples on."""
    return f"{REFERENCES}/{sha256[:16]}.first.png"
