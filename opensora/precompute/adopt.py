"""Take latents and embeddings of the layout before into the store, without encoding them again.

There a run had folders of its own, `latents/{stage}/{shard}/` and `embeddings/`, each with data
files and one `index.parquet`. A row is taken where encoding today would give the same: where the
identity of the encoder is today's, version included, and its bytes are those that were written.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.core.process import threads_in_use
from opensora.models.build import load_autoencoder
from opensora.models.device import choose_device
from opensora.models.weights.folders import encoder_sha256, resolve_folder
from opensora.precompute.encode_clips import compute_dtype
from opensora.precompute.encode_texts import drift
from opensora.precompute.latent_doctor import latent_facts
from opensora.precompute.text_encoding import TextEncoding
from opensora.precompute.texts import build_text_encoder
from opensora.precompute.upkeep.take_out import text_facts
from opensora.precompute.video_encoding import SAMPLE, VideoEncoding
from opensora.stores.catalogue import Catalogue
from opensora.stores.embeddings import OFFSETS, SCALES, TOKENS, write_embeddings
from opensora.stores.files import as_bytes, checksum, map_tensors, read_record
from opensora.stores.index import CHECKSUM, read_index
from opensora.stores.int8 import dequantise
from opensora.stores.keys import KEY, LABELS, MOMENTS, latent_key, text_key
from opensora.stores.latents import TENSOR, write_latents
from opensora.stores.runs import CLIPS, EMBEDDINGS, LATENTS
from opensora.tables.columns import ID, PATH
from opensora.tables.io import read_table
from opensora.text.cut import count_cut

_OLD_NAME, _MANIFEST = "index.parquet", "manifest.csv"
_PART = "adopted"  # of an address; every job looks into all of them
_AGAIN = 8  # texts of a file that are encoded once more
_EQUAL_TEXTS = {(3, 4)}  # versions of encode_captions that give equal embeddings


@dataclass
class Adopted:
    """What became of the rows of a kind.

    Attributes:
        kind: latents, embeddings or clips.
        taken: rows that the store took, or would.
        there: rows that it had.
        left: reason -> rows that were not taken.
    """

    kind: str
    taken: int = 0
    there: int = 0
    left: Counter[str] = field(default_factory=Counter)

    def sentence(self) -> str:
        """What a person reads of it."""
        there = f", {self.there} are there" if self.there else ""
        left = "".join(f"; not {count}: {reason}" for reason, count in self.left.items())
        return f"{self.kind}: {self.taken}{there}{left}"


def adopt(
    run: Path, *, vae: str | None, text_encoder: str | None, device: str | None, is_dry: bool
) -> list[Adopted]:
    """Take what can be taken; the old folders stay.

    Args:
        run: folder of a run; the store lies beside it.
        vae: folder or hub name of the autoencoder; None is what the run trained.
        text_encoder: the same of the text encoder.
        device: where a few texts are encoded again.
        is_dry: only count.

    Raises:
        StoreError: no such run.
        CheckpointError: an encoder can not be loaded.
    """
    if not run.is_dir():
        raise StoreError(f"{run}: no such folder; give that of a run, as results/demo")
    where = choose_device(device)
    store = run.resolve().parent / "store"
    encoders = {
        LATENTS: vae or str(run / "models/vae"),
        EMBEDDINGS: text_encoder or str(run / "models/text_encoder"),
    }
    return [
        _adopt_latents(run, store / LATENTS, encoders[LATENTS], where, is_dry),
        _adopt_texts(run, store / EMBEDDINGS, encoders[EMBEDDINGS], where, is_dry),
        _clips(run),
    ]


def _clips(run: Path) -> Adopted:
    """Clip files of before: their recipes are of another version, so none has today's address."""
    found = Adopted(CLIPS)
    files = [path for path in (run / CLIPS).glob("*/*") if path.suffix in (".mp4", ".png")]
    if files:
        found.left["cut by an earlier version, cut anew"] = len(files)
    return found


def _adopt_latents(run: Path, store: Path, name: str, device: str, is_dry: bool) -> Adopted:
    found = Adopted(LATENTS)
    clips = _manifest(run)
    networks: dict[str, Any] = {}  # stored type -> autoencoder
    for index in sorted((run / LATENTS).rglob(_OLD_NAME)):
        rows, identity = _old(index, found)
        if rows is None:
            continue
        folder = resolve_folder(name, kind="autoencoder", part="vae")
        dtype = str(identity.get("dtype"))
        if dtype not in networks:
            networks[dtype] = load_autoencoder(str(folder), device, compute_dtype(device, dtype))
        encoding = VideoEncoding(
            dtype=dtype,
            posterior=str(identity.get("posterior", SAMPLE)),
            seed=int(identity.get("seed", VideoEncoding.seed)),
        )
        reason = _difference(identity, encoding.identity(networks[dtype]))
        if reason is not None:
            found.left[reason] += len(rows)
            continue
        catalogue = Catalogue(store / encoding.address(encoder_sha256(folder)), _PART)
        for file, part in rows.groupby("file"):
            data = _data(index.parent / str(file), identity)
            if data is None:
                found.left["in a damaged file"] += len(part)
                continue
            good = _good_latents(part, data[1][TENSOR], clips, run, found)
            good = good[~good[KEY].isin(_known(catalogue, good, found))]
            if len(good) and not is_dry:
                _write_latents(catalogue, good, data, identity)
            found.taken += len(good)
    return found


def _good_latents(
    rows: pd.DataFrame,
    latents: Tensor,
    clips: Mapping[str, dict[str, Any]],
    run: Path,
    found: Adopted,
) -> pd.DataFrame:
    """Rows of one file that today's encoding would make the same, with their keys."""
    keys: dict[int, str] = {}
    data = as_bytes(latents, 2)
    for place, row in rows.iterrows():
        clip = clips.get(row[ID])
        reason = _reason(row, clip, run)
        if reason is None and checksum(data[row["row"]]) != row["checksum"]:
            reason = "damaged on disk"
        if reason is not None or clip is None:
            found.left[str(reason)] += 1
            continue
        is_image = Bucket.parse(row["bucket"]).is_image
        interval = 1 if is_image else max(1, round(clip["fps"] / row["fps"]))
        keys[int(str(place))] = latent_key(row["sha256"], row["bucket"], interval)
    good = rows.loc[list(keys)]
    return good.assign(**{KEY: pd.Series(keys, index=list(keys), dtype="str")}).drop_duplicates(KEY)


def _reason(row: Any, clip: Mapping[str, Any] | None, run: Path) -> str | None:
    """Why nobody would find a latent again."""
    if not row["sha256"]:
        return "of clips without a sha256"
    if clip is None:
        return f"of clips that {run / _MANIFEST} lacks, which says how fast they are"
    if clip["sha256"] != row["sha256"]:
        return "of clips that changed since"
    if Path(clip[PATH]).parts[-4:-2] == (run.name, CLIPS):
        return "of clips that are cut anew, by another version"
    return None


def _write_latents(
    catalogue: Catalogue,
    rows: pd.DataFrame,
    data: tuple[dict[str, Any], dict[str, Tensor]],
    identity: Mapping[str, Any],
) -> None:
    catalogue.keep_identity(identity)
    latents = [data[1][TENSOR][row] for row in rows["row"]]
    path, entries = write_latents(catalogue, latents, rows, data[0]["bucket"], identity)
    are_moments = identity.get("posterior") == MOMENTS
    catalogue.add(path, entries, latent_facts(latents, are_moments=are_moments))


def _adopt_texts(run: Path, store: Path, name: str, device: str, is_dry: bool) -> Adopted:
    found = Adopted(EMBEDDINGS)
    for index in sorted((run / EMBEDDINGS).rglob(_OLD_NAME)):
        rows, identity = _old(index, found)
        if rows is None:
            continue
        encoding, encoder, folder = _text_encoder(identity, name, device)
        today = encoding.identity(encoder)
        is_equal = (identity.get("version"), today["version"]) in _EQUAL_TEXTS
        reason = _difference(
            {**identity, "version": today["version"]} if is_equal else identity, today
        )
        if reason is not None:
            found.left[reason] += rows.groupby(["file", "row"]).ngroups
            continue
        key = "" if folder is None else encoder_sha256(folder)
        catalogue = Catalogue(store / encoding.address(key), _PART)
        for file in sorted(set(rows["file"])):
            data = _data(index.parent / file, identity)
            if data is None:
                found.left["in a damaged file"] += rows[rows["file"] == file]["row"].nunique()
                continue
            texts = _good_texts(*data, found)
            texts = texts[~texts[KEY].isin(_known(catalogue, texts, found))]
            if len(texts) and not is_dry:
                _write_texts(catalogue, texts, data, today, encoder)
            found.taken += len(texts)
    return found


def _text_encoder(
    identity: Mapping[str, Any], name: str, device: str
) -> tuple[TextEncoding, Any, Path | None]:
    kind = str(identity.get("type"))
    dtype = str(identity.get("dtype"))
    folder = None if kind == LABELS else resolve_folder(name, kind=kind)
    settings: dict[str, Any] = {
        "max_length": identity.get("model_max_length"),
        "num_classes": identity.get("num_classes"),
    }
    encoding = TextEncoding(
        kind=kind, dtype=dtype, int8=bool(identity.get("int8", False)), **settings
    )
    where = None if folder is None else str(folder)
    compute = "fp32" if device == "cpu" or kind == LABELS else dtype
    encoder = build_text_encoder(
        kind, from_pretrained=where, dtype=compute, device=device, **settings
    )
    return encoding, encoder, folder


def _good_texts(record: dict[str, Any], tensors: dict[str, Tensor], found: Adopted) -> pd.DataFrame:
    """The texts of one file whose bytes are those that were written: text, row, key."""
    lengths = record["tokens"]
    parts = [tensors[name].split(lengths) for name in (TOKENS, SCALES) if name in tensors]
    texts = pd.DataFrame({"text": record["texts"], "row": range(len(lengths))})
    texts[KEY] = pd.Series([text_key(text) for text in record["texts"]], dtype="str")
    is_good = [
        checksum(*map(as_bytes, row)) == expected
        for row, expected in zip(zip(*parts, strict=True), record["checksums"], strict=True)
    ]
    if is_good.count(False):
        found.left["damaged on disk"] += is_good.count(False)
    return texts[is_good]


@torch.no_grad()
def _write_texts(
    catalogue: Catalogue,
    texts: pd.DataFrame,
    data: tuple[dict[str, Any], dict[str, Tensor]],
    identity: Mapping[str, Any],
    encoder: Any,
) -> None:
    catalogue.keep_identity(identity)
    record, tensors = data
    rows = texts["row"].tolist()
    lengths = [record["tokens"][row] for row in rows]
    kept = {
        name: torch.cat([tensor.split(record["tokens"])[row] for row in rows])
        for name, tensor in tensors.items()
        if name != OFFSETS
    }
    words = texts["text"].tolist()
    path, entries = write_embeddings(catalogue, kept, lengths, words, identity)
    tokens = kept[TOKENS]
    if SCALES in kept:
        tokens = dequantise(tokens, kept[SCALES], torch.empty(tokens.shape))
    again = drift(words[:_AGAIN], tokens.split(lengths)[:_AGAIN], encoder)
    cut = count_cut(encoder, words)
    facts = {"int8": [], "drift": again, "cut": [cut.cut, cut.tokens], "threads": threads_in_use()}
    catalogue.add(path, entries, text_facts(kept, lengths, facts))


def _known(catalogue: Catalogue, rows: pd.DataFrame, found: Adopted) -> set[str]:
    """Keys that the store has already."""
    known = set(catalogue.find(rows[KEY])[KEY])
    found.there += len(known)
    return known


def _old(index: Path, found: Adopted) -> tuple[pd.DataFrame | None, dict[str, Any]]:
    """Rows and encoder of a folder of before; None where there are none."""
    try:
        rows, record = read_index(index)
        identity = dict(record["identity"])
        if record.get("checksum") != CHECKSUM:
            found.left["with checksums of an older version"] += len(rows)
            return None, {}
    except (OSError, KeyError, TypeError, ValueError):
        found.left[f"{index} can not be read"] += 1
        return None, {}
    return (rows if len(rows) else None), identity


def _data(
    path: Path, identity: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Record and tensors of a data file; None where it is not what its index says."""
    record, tensors = read_record(path), map_tensors(path)
    if record is None or tensors is None or record.get("identity") != dict(identity):
        return None
    return record, tensors


def _difference(before: Mapping[str, Any], today: Mapping[str, Any]) -> str | None:
    """Why encoding would give something else; the first field that differs."""
    for name in sorted({*before, *today}):
        if before.get(name) != today.get(name):
            return f"encoded with {name} {before.get(name)!r}, today it is {today.get(name)!r}"
    return None


def _manifest(run: Path) -> dict[str, dict[str, Any]]:
    """Path, rate and sha256 of the clips by id, as the run had them."""
    path = run / _MANIFEST
    if not path.is_file():
        return {}
    frame = read_table(path)
    columns = [name for name in (PATH, "fps", "sha256") if name in frame]
    return dict(zip(frame[ID], frame[columns].to_dict("records"), strict=True))
