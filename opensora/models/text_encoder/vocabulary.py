"""Tokenizers from folders, and the proof that they know words.

The loaders of transformers take a folder without a vocabulary, say nothing, and read every word as
the unknown one; without sentencepiece they name another package.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from opensora.core.errors import CheckpointError
from opensora.core.io import read_json_object
from opensora.models.weights.files import mistaken_file
from opensora.models.weights.pretrained import NO_CODE, load_parts

_CONFIG = "tokenizer_config.json"
_READY = "tokenizer.json"  # a vocabulary with its rules, of the library tokenizers
_OF_T5 = "spiece.model"
_FILES = f"{_READY}, {_OF_T5}, tokenizer.model, vocab.json and merges.txt, or vocab.txt"
_BLANK = "\u2581"  # what sentencepiece writes for one; in every T5 without words as well


def load_tokenizer(folder: Path, *, kind: str) -> Any:
    """The tokenizer of a folder in the transformers format, with a vocabulary.

    ByT5's has no vocabulary file and must be asked for by name; T5's may have no other file than
    that of sentencepiece, as DeepFloyd/t5-v1_1-xxl.

    Args:
        folder: where its files are.
        kind: what is loaded, for messages.

    Raises:
        CheckpointError: no tokenizer, a file that can not be read, or no words.
    """
    # transformers takes seconds, and the registry imports this module for every model
    from transformers import AutoTokenizer, ByT5Tokenizer, T5Tokenizer

    config, pieces = folder / _CONFIG, folder / _OF_T5
    if not config.is_file() and not pieces.is_file():
        raise CheckpointError(f"{config} is missing; save the tokenizer beside the weights")
    load: Any = AutoTokenizer
    if config.is_file() and read_json_object(config).get("tokenizer_class") == "ByT5Tokenizer":
        load = ByT5Tokenizer
    elif pieces.is_file() and not (folder / _READY).is_file():
        _check_pieces(pieces, kind)
        load = T5Tokenizer
    tokenizer = load_parts(lambda: load.from_pretrained(folder, **NO_CODE), folder, kind=kind)
    check_words(tokenizer, folder, kind=kind)
    return tokenizer


def check_words(tokenizer: Any, folder: Path, *, kind: str) -> None:
    """Refuse a tokenizer that knows nothing but its special tokens, and none at all.

    Raises:
        CheckpointError: every word would be unknown.
    """
    if tokenizer is not None:
        special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab(), _BLANK}
        if tokenizer.get_vocab().keys() - special:
            return
    raise CheckpointError(
        f"{kind}: {folder} holds no vocabulary, so every word would be unknown; copy it beside"
        f" {_CONFIG} ({_FILES})"
    )


def check_fit(tokenizer: Any, rows: int, folder: Path, *, kind: str) -> None:
    """Refuse a vocabulary that is larger than the network's table of embeddings.

    Args:
        tokenizer: of the folder.
        rows: of the table.
        folder: where both are from.
        kind: for the message.

    Raises:
        CheckpointError: some tokens have no embedding.
    """
    last = max(tokenizer.get_vocab().values())
    if last >= rows:
        raise CheckpointError(
            f"{kind}: {folder} has tokens up to {last} and embeddings of {rows}; the vocabulary is"
            " that of another model, copy the one that belongs to the weights"
        )


def _check_pieces(file: Path, kind: str) -> None:
    """Say what is wrong with a file of sentencepiece before transformers asks for tiktoken."""
    if find_spec("sentencepiece") is None:
        raise CheckpointError(
            f"{kind}: {file} is read by the package sentencepiece, which is not installed; run"
            " `pip install sentencepiece`"
        )
    from sentencepiece import SentencePieceProcessor

    try:
        SentencePieceProcessor(model_file=str(file))
    except (OSError, RuntimeError) as error:
        damage = f"is damaged or cut off ({error}); download it again"
        raise CheckpointError(f"{kind}: {file} {mistaken_file(file) or damage}") from error
