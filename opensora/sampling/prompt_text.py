"""Prompts as text: files of them, settings written behind them, prompts that change by loop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opensora.core import limits
from opensora.core.errors import ConfigError
from opensora.core.io import lines_of
from opensora.core.limits import check_depth
from opensora.core.text_files import TextEncodingError, read_text
from opensora.tables.columns import MASK_STRATEGY, REFERENCE_PATH

# what a prompt may carry behind its text: 'a cat{"reference_path": "cat.png", ...}'
PROMPT_FIELDS = (REFERENCE_PATH, MASK_STRATEGY)
_LOOP_MARK = "|0|"  # how a prompt begins that changes by loop
_COLUMNS = frozenset(
    {"id", "path", "text", "prompt", "caption", "cap", "video", "file_name", "negative_prompt"}
    | {"num_frames", "height", "width", "fps", "aspect_ratio", "resolution"}
)  # of tables of prompts and of clips; a sentence may have one of these words, alone or in a list


def read_prompts(path: str | Path) -> list[str]:
    """Read one prompt per line; empty lines do not count.

    Lines end as files end them. What other programs break lines at, and chat windows and notes
    leave inside a sentence (U+2028, U+2029, U+0085, a form feed), becomes a blank.

    Raises:
        ConfigError: the file is missing, in an unknown encoding, a table, or holds no prompt.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such prompt file; pass a text file with one prompt per line."
        )
    try:
        if (size := path.stat().st_size) > limits.CAPTION_FILE_BYTES:
            raise ConfigError(
                f"{path}: {size:,} bytes; at most {limits.CAPTION_FILE_BYTES:,} are read; split the"
                " prompt file."
            )
        text = read_text(path)
    except TextEncodingError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(
            f"{path}: the prompt file can not be read ({error.strerror}); change its permissions."
        ) from error
    prompts = [line.strip() for line in lines_of(text, odd_breaks=" ") if line.strip()]
    if not prompts:
        raise ConfigError(f"{path}: the prompt file is empty; write one prompt per line.")
    if _is_table_header(prompts[0]):
        raise ConfigError(
            f"{path}: this is a table (its first line is {prompts[0][:60]!r}); call it .csv, with"
            " the columns text, reference_path and mask_strategy, or write one prompt per line."
        )
    return prompts


def split_fields(prompt: str) -> tuple[str, dict[str, Any]]:
    """Split a prompt into its text and the fields behind it, a JSON object that ends the prompt.

    Returns:
        The text without surrounding blanks, and the fields; none without a "{".

    Raises:
        ConfigError: what follows the first "{" is not JSON, or holds an unknown field.
    """
    text, brace, rest = prompt.partition("{")
    if not brace:
        return _of_length(prompt.strip()), {}
    try:
        check_depth(brace + rest)
        fields: dict[str, Any] = json.loads(brace + rest)
    except ValueError as error:
        raise ConfigError(
            f"what follows '{{' is not JSON ({error}); write"
            ' {"reference_path": "...", "mask_strategy": "..."} behind the text, or no brace.'
        ) from error
    for name in fields:
        if name not in PROMPT_FIELDS:
            raise ConfigError(
                f"unknown field {name!r} behind the text; known: {', '.join(PROMPT_FIELDS)}."
            )
    return _of_length(text.strip()), fields


def _of_length(text: str) -> str:
    if len(text) > limits.PROMPT_CHARACTERS:
        raise ConfigError(
            f"it has {len(text)} characters; at most {limits.PROMPT_CHARACTERS} are read"
        )
    return text


def loop_texts(prompt: str, loops: int, clean: Callable[[str], str]) -> list[str]:
    """The clean text of each loop.

    "|0|a cat|2|a dog" is "a cat" in loops 0 and 1 and "a dog" from loop 2 on; any other prompt is
    the same in all loops.

    Args:
        prompt: text without fields.
        loops: number of loops.
        clean: makes a text ready for the text encoder.

    Returns:
        One text per loop.

    Raises:
        ConfigError: the marks are malformed or do not add up to the loops.
    """
    if not prompt.startswith(_LOOP_MARK):
        return [clean(prompt)] * loops
    parts = prompt.split("|")[1:]  # start, text, start, text, ...
    if len(parts) % 2 or not all(start.strip().isdecimal() for start in parts[::2]):
        raise ConfigError(
            "the loop marks can not be read; expected '|0|first text|2|text from loop 2 on'."
        )
    ends = [*(int(start) for start in parts[2::2]), loops]
    texts: list[str] = []
    for start, text, end in zip(parts[::2], parts[1::2], ends, strict=True):
        texts += [clean(text)] * (end - int(start))
    if len(texts) != loops:
        raise ConfigError(
            f"its loop marks give {len(texts)} loops but loop is {loops}; let them rise from 0 and"
            f" stay below {loops}."
        )
    return texts


def _is_table_header(line: str) -> bool:
    """Whether a line names columns, as that of a CSV file does; "forest, path, fog" does not."""
    names = [name.strip().strip('"').lower() for name in line.replace("\t", ",").split(",")]
    return all(name.isidentifier() for name in names) and len(_COLUMNS.intersection(names)) > 1
