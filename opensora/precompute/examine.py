"""Examine what the indexes of a run name, as the gate after encoding does, and change nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError, VideoError
from opensora.media.unchanged import check_unchanged
from opensora.models.build import load_autoencoder
from opensora.models.weights.folders import clips_learned_from
from opensora.precompute.encode_clips import ClipRequest, compute_dtype
from opensora.precompute.encode_texts import drift
from opensora.precompute.gates import (
    excused,
    judge_alike,
    judge_latents,
    judge_texts,
    latent_numbers,
    what_to_do,
)
from opensora.precompute.latent_doctor import decibels, few, latent_facts, round_trip
from opensora.precompute.texts import build_text_encoder
from opensora.precompute.video_encoding import VideoEncoding
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.keys import MOMENTS
from opensora.stores.latents import LatentStore
from opensora.tables.columns import ID, PATH, TEXT, WINDOW, K

_CAPTIONS_AGAIN = 8


def examine_latents(
    roots: Sequence[Path],
    *,
    vae: str | None,
    manifest: pd.DataFrame | None,
    min_psnr: float,
    device: str,
) -> str:
    """Check every file and row of latents and measure their buckets.

    With the autoencoder and the manifest a few clips of each bucket are decoded and compared with
    their pixels.

    Args:
        roots: indexes, or folders of indexes (the shards of a stage).
        vae: folder or hub name of the autoencoder that made them.
        manifest: id, path and fps of the clips.
        min_psnr: least mean PSNR of a bucket in dB.
        device: where to decode.

    Returns:
        What was found, for people.

    Raises:
        StoreError: the first thing that is wrong.
    """
    clips = checked = rejected = 0
    buckets: set[str] = set()
    network: Any = None
    learned_from = None if vae is None else clips_learned_from(Path(vae))
    for root in roots:
        store = LatentStore(root)
        clips, rejected = clips + store.rows[ID].nunique(), rejected + len(store.rejected)
        checked += store.verify()
        buckets |= set(store.rows["bucket"])
        if vae is not None and manifest is not None and len(store):
            if network is None:
                dtype = compute_dtype(device, store.identity["dtype"])
                network = load_autoencoder(vae, device, dtype)
                network.micro_batch_size = VideoEncoding.batch_size
            store.require_identity(network.identity())
        _judge(store, network, manifest, min_psnr, device, learned_from)
    decoded = "nothing decoded (no --vae)" if network is None else "decoded samples of each bucket"
    found = f"{clips} clips in {len(buckets)} buckets{_left_out(rejected)}"
    return f"{found}, {_size(checked)} unharmed, {decoded}"


def examine_embeddings(
    root: Path, *, text_encoder: str | None, manifest: pd.DataFrame | None, device: str
) -> str:
    """Check every file and row of embeddings and compare their captions.

    With the text encoder and the manifest a few captions are encoded again; class labels need no
    network for it.

    Args:
        root: an index, or a folder of indexes.
        text_encoder: folder or hub name of the encoder that made them.
        manifest: id and text of the clips they should be of.
        device: where to encode.

    Returns:
        What was found, for people.

    Raises:
        StoreError: the first thing that is wrong.
    """
    store = EmbeddingStore(root)
    checked = store.verify()
    unique = store.rows.sort_values(K, kind="stable").drop_duplicates(["file", "row"])
    least, bad = _measure(store, unique)
    if bad:
        what = (
            "labels are none of the classes" if store.holds_labels else "values are NaN or infinite"
        )
        raise _useless(store, f"{bad} {what}")
    numbers: dict[str, Any] = {"drift": 0.0, "norm": [least]}
    failures: list[str] = []
    again = "none encoded again (no --text-encoder, or no --manifest)"
    if manifest is not None and len(unique):
        # the manifest has the first caption of each clip
        texts = unique[ID].map(_captions_of(store, manifest)).where(unique[K] == 0)
        if not store.holds_labels:
            length = int(store.identity.get("model_max_length", 0))
            failures = judge_alike(unique.assign(text=texts), length)[0]
        if text_encoder is not None or store.holds_labels:
            numbers["drift"] = _encode_again(store, texts, text_encoder, device)
            again = "some encoded again"
    failures += judge_texts(numbers, are_labels=store.holds_labels)[0]
    if failures:
        raise _useless(store, failures[0])
    captions = f"{len(unique)} captions of {store.rows[ID].nunique()} clips"
    return f"{captions}{_left_out(len(store.rejected))}, {_size(checked)} unharmed, {again}"


def _judge(
    store: LatentStore,
    network: Any,
    manifest: pd.DataFrame | None,
    min_psnr: float,
    device: str,
    learned_from: int | None,
) -> None:
    are_moments = store.identity.get("posterior") == MOMENTS
    measured: dict[str, dict[str, Any]] = {}
    for name, rows in store.rows.groupby("bucket", sort=True):
        facts = latent_facts(map(store.at, rows.index), are_moments=are_moments)
        if network is not None and manifest is not None and not facts["bad_values"]:
            facts["psnr"] = _decode_some(store, rows, network, manifest, device)
        measured[str(name)] = latent_numbers(facts)
    together = [psnr for numbers in measured.values() for psnr in numbers["psnr"]]
    for name, numbers in measured.items():
        failure, _ = judge_latents(numbers, min_psnr)
        is_odd = learned_from is not None and bool(excused(numbers, min_psnr, together))
        if failure is not None and not is_odd:
            raise StoreError(f"{store.root}: bucket {name} {failure}; {what_to_do(learned_from)}")


def _decode_some(
    store: LatentStore, rows: pd.DataFrame, network: Any, manifest: pd.DataFrame, device: str
) -> list[float]:
    """PSNR in dB of a few clips of a bucket that the manifest knows.

    Raises:
        StoreError: the file of one is not the one that was encoded.
    """
    rows = rows.rename_axis("position").reset_index()
    known = rows.merge(manifest[[ID, PATH, "fps"]], on=ID, suffixes=("", "_source"))
    found = []
    for pick in few(len(known)) if len(known) else []:
        row = known.iloc[pick]
        bucket = Bucket.parse(row["bucket"])
        try:
            check_unchanged(row[PATH], row["sha256"])
        except VideoError as error:
            raise StoreError(f"{store.root}: clip {row[ID]!r}: {error.detail}") from error
        interval = 1 if bucket.is_image else max(1, round(row["fps_source"] / row["fps"]))
        pair = round_trip(
            store.at(int(row["position"])),
            ClipRequest(row[ID], row[PATH], bucket, interval, window=int(row[WINDOW])).read,
            network,
            are_moments=store.identity.get("posterior") == MOMENTS,
            device=device,
            dtype=compute_dtype(device, store.identity["dtype"]),
        )
        found += [] if pair is None else [decibels(*pair)]
    return found


def _measure(store: EmbeddingStore, rows: pd.DataFrame) -> tuple[float, int]:
    """The least length of a token, and the number of values that are none; or of bad labels."""
    least, bad = float("inf"), 0
    for position in rows.index:
        tokens = store.at(position)
        if store.holds_labels:
            bad += int(not 0 <= int(tokens) < int(store.identity["num_classes"]))
            continue
        bad += int((~tokens.isfinite()).sum())
        least = min(least, float(tokens.double().norm(dim=1).min()))
    return least, bad


def _captions_of(store: EmbeddingStore, manifest: pd.DataFrame) -> dict[str, str]:
    """The caption of each clip; every clip of the manifest has one.

    Raises:
        StoreError: some have none.
    """
    captions = dict(zip(manifest[ID], manifest[TEXT], strict=True))
    absent = sorted(set(captions) - {*store.rows[ID], *store.rejected[ID]})
    if absent:
        raise _useless(
            store, f"{len(absent)} clips of the manifest are absent, the first {absent[0]!r}"
        )
    return captions


def _encode_again(
    store: EmbeddingStore, texts: pd.Series, text_encoder: str | None, device: str
) -> float:
    """The relative RMS between stored and new embeddings of a few captions."""
    encoder = build_text_encoder(
        store.identity["type"],
        from_pretrained=text_encoder,
        max_length=store.identity.get("model_max_length"),
        num_classes=store.identity.get("num_classes"),
        dtype="fp32" if device == "cpu" else store.identity["dtype"],
        device=device,
    )
    store.require_identity(encoder.identity())
    known = texts[texts.notna()].iloc[::-1]
    picks = known.iloc[:: max(1, len(known) // _CAPTIONS_AGAIN)]
    lost, total = drift(picks.tolist(), [store.at(place) for place in picks.index], encoder)
    return float((lost / max(total, 1e-30)) ** 0.5)


def _useless(store: EmbeddingStore, sentence: str) -> StoreError:
    return StoreError(
        f"{store.root}: {sentence}; check the text encoder (its weights, dtype and tokenizer), then"
        " encode again with a better one"
    )


def _left_out(rejected: int) -> str:
    return f", {rejected} not encoded" if rejected else ""


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
