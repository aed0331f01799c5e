"""Look up the latents of a shard's clips in the store, encode what it lacks, index both."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from opensora.core.errors import ConfigError, StoreError, TableError
from opensora.core.io import sha256_file
from opensora.precompute.gates import (
    excused,
    join_latent_facts,
    judge_latents,
    latent_numbers,
    what_to_do,
)
from opensora.precompute.video_encoding import VideoEncoding
from opensora.stores.catalogue import Catalogue
from opensora.stores.index import latent_columns, latent_rows, relative, write_index
from opensora.stores.keys import FILE_LATENTS, KEY, latent_key, part_name
from opensora.tables.columns import DETAIL, ID, OK, PATH, STATUS, WINDOW
from opensora.tables.io import read_table

if TYPE_CHECKING:
    from opensora.precompute.encode_clips import Load

log = logging.getLogger(__name__)
ITEM_COLUMNS = (ID, PATH, "sha256", "fps", "bucket", "frame_interval")
_SHOWN = 5  # rejected rows, in the log
_UNREADABLE = "unreadable"  # as of clips that can not be opened


def read_items(path: Path) -> pd.DataFrame:
    """Read a table of items.

    Raises:
        TableError: it is missing, or not what `assign-buckets --items` writes.
    """
    items = read_table(path)
    for name in ITEM_COLUMNS:
        if name not in items:
            raise TableError(
                f"{path}: column {name!r} is missing; give a table that assign-buckets wrote"
                " with --items"
            )
    return items


def encode_videos(
    tables: Sequence[pd.DataFrame],
    outputs: Sequence[Path],
    store: Path,
    encoding: VideoEncoding,
    load: "Load",
    *,
    encoder: str,
    load_pictures: Callable[[], Any] | None = None,
    learned_from: int | None = None,
    shard: int = 0,
    num_shards: int = 1,
) -> dict[str, int]:
    """Encode every (clip, bucket) pair that the store lacks, and write an index for each table.

    Each bucket passes the gate before the next one. Where nothing is missing no network is loaded.

    Args:
        tables: items of each stage: id, path, sha256, fps of the frames in use, bucket,
            frame_interval, and window where clips have several.
        outputs: the index of each table.
        store: folder of latents that runs share.
        encoding: settings.
        load: gives the autoencoder.
        encoder: hash of the autoencoder.
        load_pictures: gives what embeds given frames; None = none.
        learned_from: clips that the run held when it trained the autoencoder; None = another did.
        shard: with `num_shards`, which are all, the part of the store that new files go into.
        num_shards: likewise.

    Returns:
        Counts: clips (pairs), files, encoded, found, rejected.

    Raises:
        ConfigError: not one output a table, or a bucket without a latent value.
        StoreError: the latents fail the gate.
    """
    _check_outputs(len(tables), outputs)
    catalogue = Catalogue(store / encoding.address(encoder), part_name(shard, num_shards))
    items = [_with_keys(table) for table in tables]
    pairs = pd.concat(items).sort_values(["bucket", KEY, ID]).drop_duplicates(KEY)
    work = _Work(catalogue, encoding, learned_from, load_pictures)
    rejected = work.fill(pairs, load)
    gate = work.gate()
    for table, output in zip(items, outputs, strict=True):
        write_index(
            *(output, latent_rows(marked(table, rejected), work.found)),
            columns=latent_columns(table),
            store=catalogue.folder,
            identity=catalogue.identity() or {},
            files=catalogue.files,
            gate=_of_buckets(gate, set(table["bucket"]), output, catalogue.folder),
        )
    counts = {"clips": len(pairs), "files": work.found["file"].nunique(), "encoded": work.encoded}
    found = len(pairs) - work.encoded - len(rejected)
    return {**counts, "found": found, "rejected": len(rejected)}


def _check_outputs(tables: int, outputs: Sequence[Path]) -> None:
    if tables != len(outputs) or len(set(outputs)) < len(outputs):
        raise ConfigError(
            f"{tables} tables of --items and {len(set(outputs))} different --output; give one"
            " index for each table, in order"
        )


def _with_keys(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the key of each row; "" and a reason where its file can not be hashed."""
    contents = table["sha256"].fillna("").astype(str).tolist()
    named = list(zip(table[PATH], contents, strict=True))
    hashes = {path: _content(path) for path in {path for path, content in named if not content}}
    contents = [content or hashes[path] for path, content in named]
    begins = table[WINDOW] if WINDOW in table else pd.Series(0, table.index)
    rows = zip(contents, table["bucket"], table["frame_interval"], begins, table[PATH], strict=True)
    # a file that is not there has no content, and nothing is found for its path
    keys = [latent_key(content or path, b, int(n), int(w)) for content, b, n, w, path in rows]
    items = table[list(ITEM_COLUMNS)].assign(**{WINDOW: begins})
    return items.assign(sha256=contents, **{KEY: pd.Series(keys, table.index, dtype="str")})


def marked(rows: pd.DataFrame, rejected: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """The rows with `status` and `detail`, by their keys."""
    reasons = [rejected.get(key, (OK, "")) for key in rows[KEY]]
    return rows.assign(
        **{STATUS: [reason for reason, _ in reasons], DETAIL: [detail for _, detail in reasons]}
    )


def say_rejected(rejected: Mapping[str, tuple[str, str]]) -> None:
    """Warn of rows that could not be encoded: how many, and the first few."""
    if rejected:
        log.warning("not encoded rows=%d", len(rejected))
    for reason, detail in islice(rejected.values(), _SHOWN):
        log.warning("not encoded reason=%s %s", reason, detail)


def _content(path: str) -> str:
    try:
        return sha256_file(path)
    except OSError:
        return ""


class _Work:
    """What one job looked up and made.

    Attributes:
        found: rows of the store as `Catalogue.find` returns them.
        encoded: how many of them are new.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        encoding: VideoEncoding,
        learned_from: int | None,
        load_pictures: Callable[[], Any] | None,
    ) -> None:
        self._catalogue, self._encoding, self._learned_from = catalogue, encoding, learned_from
        self._load_pictures = load_pictures
        self._buckets: dict[str, set[str]] = {}  # bucket -> keys
        self.found = pd.DataFrame()
        self.encoded = 0

    def fill(self, pairs: pd.DataFrame, load: "Load") -> dict[str, tuple[str, str]]:
        """Look up, encode what is missing, join small files.

        Returns:
            key -> reason and detail of those that can not be encoded.
        """
        self._buckets = {str(name): set(rows[KEY]) for name, rows in pairs.groupby("bucket")}
        self.found = self._catalogue.find(pairs[KEY])
        missing = pairs[~pairs[KEY].isin(self.found[KEY])]
        rejected: dict[str, tuple[str, str]] = {}
        for key, content, path in zip(missing[KEY], missing["sha256"], missing[PATH], strict=True):
            if not content:
                rejected[key] = (_UNREADABLE, f"{path}: can not be opened")
        missing = missing[~missing[KEY].isin(rejected)]
        for bucket in self._buckets:
            if bucket not in set(missing["bucket"]):
                self._judge(bucket)  # what failed before fails before anything is encoded
        if len(missing):
            rejected |= self._encode(missing, load)
        say_rejected(rejected)
        self._join()
        return rejected

    def _encode(self, missing: pd.DataFrame, load: "Load") -> dict[str, tuple[str, str]]:
        from opensora.precompute.encode_clips import ClipEncoder  # loads torch

        rejected: dict[str, tuple[str, str]] = {}
        left = missing.groupby("bucket").size().to_dict()
        encoder = ClipEncoder(self._catalogue, self._encoding, load, self._load_pictures)
        for bucket, added in encoder.encode(missing):
            rejected |= {key: (e.reason, e.detail) for key, e in added.rejected.items()}
            if len(added.rows):
                self.found = pd.concat([self.found, added.rows], ignore_index=True)
            self.encoded += len(added.rows)
            left[bucket] -= len(added.rows) + len(added.rejected)
            if not left[bucket]:
                self._judge(bucket)
        return rejected

    def _join(self) -> None:
        """Make few files of many small ones."""
        small = {
            bucket: files
            for bucket in self._buckets
            if (files := self._catalogue.small_files(self._files(bucket), FILE_LATENTS))
        }
        if not small:
            return
        from opensora.precompute.upkeep.join_files import join_latents  # loads torch

        for files in small.values():
            join_latents(self._catalogue, files)
        self.found = self._catalogue.find(self.found[KEY])

    def gate(self) -> dict[str, dict[str, Any]]:
        """Judge all buckets; bucket -> numbers, `warning`, `montage` (file in the store)."""
        named = {name: self._files(name) for name in self._buckets}
        together = [
            psnr for files in named.values() if files for psnr in self._facts(files)["psnr"]
        ]
        judged = {name: self._judge(name, together) for name, files in named.items() if files}
        for name, facts in judged.items():
            if facts["warning"] is not None:
                log.warning("doctor bucket=%s %s", name, facts["warning"])
        return judged

    def _judge(self, bucket: str, together: Sequence[float] | None = None) -> dict[str, Any]:
        """Judge a bucket; one of few clips whose VAE the run trained once all are there.

        Args:
            bucket: its name.
            together: PSNR in dB of what was decoded of all buckets; None = they are not there yet.
        """
        files = self._files(bucket)
        if not files:
            return {}
        numbers = latent_numbers(self._facts(files))
        least = self._encoding.min_psnr
        failure, warning = judge_latents(numbers, least)
        if failure is not None and self._learned_from is not None:
            # before all are there: by what this bucket would be, were the others good
            warning = excused(numbers, least, [least] if together is None else together) or warning
            failure = None if warning else failure
        if failure is not None:
            remedy = what_to_do(self._learned_from)
            raise StoreError(f"{self._catalogue.folder}: bucket {bucket} {failure}; {remedy}")
        pictures = [Path(file).with_suffix(".png") for file in files]
        shown = next((p for p in pictures if (self._catalogue.folder / p).is_file()), None)
        return numbers | {"warning": warning, "montage": None if shown is None else str(shown)}

    def _facts(self, files: Sequence[str]) -> dict[str, Any]:
        return join_latent_facts([self._catalogue.facts(file) for file in files])

    def _files(self, bucket: str) -> list[str]:
        """Those that hold the bucket's rows, the one with most rows first."""
        names = set(self.found.loc[self.found[KEY].isin(self._buckets[bucket]), "file"])
        return sorted(names, key=lambda name: (-self._catalogue.rows_of(name), name))


def _of_buckets(
    gate: dict[str, dict[str, Any]], buckets: set[str], output: Path, folder: Path
) -> dict[str, Any]:
    """The part of the gate that an index shows; pictures are relative to its folder."""
    kept = {bucket: dict(facts) for bucket, facts in sorted(gate.items()) if bucket in buckets}
    warnings = []
    for bucket, facts in kept.items():
        warning, picture = facts.pop("warning"), facts.pop("montage")
        warnings += [f"bucket {bucket} {warning}"] if warning else []
        if picture is not None:
            facts["montage"] = relative(folder / picture, output)
    return {"buckets": kept, "warnings": warnings}
