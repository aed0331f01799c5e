"""Look up the embeddings of a shard's captions in the store, encode what it lacks, index both."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from opensora.core.errors import StoreError
from opensora.plans.items import clip_shards
from opensora.precompute.encode_videos import marked, say_rejected
from opensora.precompute.gates import (
    join_text_facts,
    judge_alike,
    judge_cut,
    judge_texts,
    text_numbers,
)
from opensora.precompute.text_encoding import TextEncoding
from opensora.stores.catalogue import Catalogue
from opensora.stores.index import embedding_columns, embedding_rows, write_index
from opensora.stores.keys import FILE_TEXTS, KEY, part_name, text_key
from opensora.tables.captions import read_all_captions
from opensora.tables.columns import CORRECTED, ID, NUM_CAPTIONS, TEXT, K
from opensora.tables.manifest import read_manifest

if TYPE_CHECKING:
    from opensora.precompute.encode_texts import Build

log = logging.getLogger(__name__)


def read_captions(
    paths: Sequence[Path], shard: int, num_shards: int, tables: Sequence[Path] = ()
) -> pd.DataFrame:
    """Read id and text of the clips of a shard; of a manifest in partitions its own alone.

    Args:
        paths: manifests, with the first caption of each clip.
        shard: which one.
        num_shards: shards in all.
        tables: CAPTIONS tables of these clips, where they have several; a row is of (id, k) then.

    Raises:
        TableError: one is no manifest, or lacks the shard; or the tables are of another manifest.
    """
    one, columns = shard if num_shards > 1 else None, (TEXT, NUM_CAPTIONS, CORRECTED)
    captions = pd.concat(
        [read_manifest(path, columns=columns, shard=one) for path in paths], ignore_index=True
    )
    if one is not None:
        captions = captions[(clip_shards(captions, num_shards) == shard).to_numpy()]
    if tables:
        return read_all_captions(captions.reset_index(drop=True), tables)
    if NUM_CAPTIONS in captions and (others := int((captions[NUM_CAPTIONS] - 1).sum())):
        log.warning(
            "encode_captions left_out=%d second captions, of which the manifest has no text; their"
            " tables are given with --captions",
            others,
        )
    return captions


def encode_captions(
    captions: pd.DataFrame,
    output: Path,
    store: Path,
    encoding: TextEncoding,
    build: "Build",
    *,
    encoder: str,
    shard: int = 0,
    num_shards: int = 1,
) -> dict[str, Any]:
    """Encode each different caption that the store lacks once, and write the shard's index.

    The captions are clean already; padding is not stored.

    Args:
        captions: id and text of the shard's clips; with `k`, a row is of (id, k).
        output: the index.
        store: folder of embeddings that runs share.
        encoding: settings.
        build: gives the encoder; asked, and torch loaded, only where something is missing.
        encoder: hash of the encoder; of labels "".
        shard: names, with `num_shards`, the part of the store that new files go into.
        num_shards: shards in all.

    Returns:
        Counts: clips, texts, tokens, files, encoded, found, rejected; `cut`, `int8_error` or None.

    Raises:
        StoreError: the embeddings fail the gate, or the encoder gives none at all.
    """
    catalogue = Catalogue(store / encoding.address(encoder), part_name(shard, num_shards))
    columns = [ID, *([K] if K in captions else []), TEXT]
    captions = captions[columns].assign(**{KEY: captions[TEXT].map(text_key).astype("str")})
    texts = captions[[KEY, TEXT]].drop_duplicates(KEY).sort_values(TEXT)
    found = catalogue.find(texts[KEY])
    missing = texts[~texts[KEY].isin(found[KEY])]
    rejected: dict[str, tuple[str, str]] = {}
    if len(missing):
        from opensora.precompute.encode_texts import encode_texts  # loads torch

        rejected, added = encode_texts(catalogue, missing[TEXT].tolist(), encoding, build)
        found = pd.concat([part for part in (found, *added) if len(part)] or [found])
        _require_some(len(texts), rejected)
    found = _joined(catalogue, found)
    gate = _gate(catalogue, texts.merge(found, on=KEY), encoding)
    write_index(
        *(output, embedding_rows(marked(captions, rejected), found)),
        columns=embedding_columns(captions),
        store=catalogue.folder,
        identity=catalogue.identity() or {},
        files=catalogue.files,
        gate=gate,
    )
    return {
        **{"clips": captions[ID].nunique(), "texts": len(texts), "files": found["file"].nunique()},
        "tokens": int(found["tokens"].sum()) if len(found) else 0,
        **{"encoded": len(missing) - len(rejected), "found": len(texts) - len(missing)},
        **{"rejected": len(rejected), "cut": gate.get("cut"), "int8_error": gate.get("int8_error")},
    }


def _require_some(texts: int, rejected: Mapping[str, tuple[str, str]]) -> None:
    """Warn of captions without an embedding; where none has one it is the encoder.

    Raises:
        StoreError: all of several were rejected.
    """
    say_rejected(rejected)
    if len(rejected) == texts > 1:
        reason, detail = next(iter(rejected.values()))
        raise StoreError(
            f"none of {texts} captions has an embedding, the first is {reason}: {detail}; check the"
            " text encoder (its type, weights and dtype)"
        )


def _joined(catalogue: Catalogue, found: pd.DataFrame) -> pd.DataFrame:
    """The same rows, in few files where they were in many small ones."""
    small = catalogue.small_files(sorted(set(found["file"])), FILE_TEXTS)
    if not small:
        return found
    from opensora.precompute.upkeep.join_files import join_embeddings  # loads torch

    join_embeddings(catalogue, small)
    return catalogue.find(found[KEY])


def _gate(catalogue: Catalogue, rows: pd.DataFrame, encoding: TextEncoding) -> dict[str, Any]:
    """Judge the captions of the shard by the facts of their files, and compare them.

    Args:
        catalogue: where they are.
        rows: text, file, tokens and checksum, each caption once.
        encoding: settings.

    Returns:
        What people read.
    """
    files = sorted(set(rows["file"]))
    if not files:
        return {}
    numbers = text_numbers(join_text_facts([catalogue.facts(file) for file in files]))
    failures, warnings = judge_texts(numbers, are_labels=encoding.are_labels)
    if not encoding.are_labels:
        length = int((catalogue.identity() or {}).get("model_max_length", 0))
        bad, notes, numbers["alike"] = judge_alike(rows, length)
        cut, numbers["cut"]["alike"] = judge_cut(rows, numbers["cut"], length)
        failures, warnings = failures + bad, [*warnings, *notes, *([cut] if cut else [])]
    for sentence in warnings:
        log.warning("doctor %s", sentence)
    if failures:
        raise StoreError(
            f"{catalogue.folder}: {failures[0]}; check the text encoder (its weights, dtype and"
            " tokenizer), then encode again with a better one"
        )
    return {**numbers, "warnings": warnings}
