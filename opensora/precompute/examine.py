"""Examine stores that exist already, as the gate after encoding does."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.models.build import load_autoencoder
from opensora.models.device import parse_dtype
from opensora.precompute.embedding_doctor import CaptionDoctor
from opensora.precompute.encode_videos import VideoEncoding
from opensora.precompute.latent_doctor import LatentDoctor, judge_latents, latent_statistics
from opensora.precompute.texts import build_text_encoder
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.latents import LatentStore
from opensora.stores.store import store_folders
from opensora.tables.columns import ID, PATH


def examine_latents(
    roots: Sequence[Path],
    *,
    vae: str | None,
    manifest: pd.DataFrame | None,
    min_psnr: float,
    device: str,
) -> str:
    """Check every file and row of latent stores and measure their buckets.

    With the autoencoder and the manifest a few clips are decoded and compared with their pixels,
    and each folder gets its `doctor.json` and pictures anew; without, nothing is written.

    Args:
        roots: folders with an index, or folders of such folders (the shards of a stage).
        vae: folder or hub name of the autoencoder that filled them.
        manifest: id, path and fps of the clips.
        min_psnr: least mean PSNR of a bucket in dB.
        device: where to decode.

    Returns:
        What was found, for people.

    Raises:
        StoreError: the first thing that is wrong.
    """
    clips = checked = 0
    buckets: set[str] = set()
    doctors: list[LatentDoctor] = []
    network: Any = None
    for store in _folders(roots):
        clips, checked = clips + len(store), checked + store.verify()
        buckets |= set(store.rows["bucket"])
        if vae is None or manifest is None:
            _judge_alone(store)
            continue
        dtype = torch.float32 if device == "cpu" else parse_dtype(store.identity["dtype"])
        if network is None:
            network = load_autoencoder(vae, device, dtype)
            network.micro_batch_size = VideoEncoding.batch_size
        store.require_identity(network.identity())
        paths = dict(zip(manifest[ID], manifest[PATH], strict=True))
        doctors.append(
            LatentDoctor(store.root, paths, network, min_psnr=min_psnr, device=device, dtype=dtype)
        )
        doctors[-1].examine(store, _frame_interval(store, manifest))
        doctors[-1].write()
    for doctor in doctors:
        doctor.require_health()
    decoded = "decoded samples of each bucket" if doctors else "nothing decoded (no --vae)"
    return f"{clips} clips in {len(buckets)} buckets, {_size(checked)} unharmed, {decoded}"


def examine_embeddings(
    root: Path, *, text_encoder: str | None, manifest: pd.DataFrame | None, device: str
) -> str:
    """Check every file and row of an embedding store and compare its captions.

    With the text encoder a few captions are encoded again, and the folder gets its `doctor.json`
    anew; without, nothing is written. Class labels need no network to be made again.

    Args:
        root: folder of the store.
        text_encoder: folder or hub name of the encoder that filled it.
        manifest: id and text of the clips it should hold.
        device: where to encode.

    Returns:
        What was found, for people.

    Raises:
        StoreError: the first thing that is wrong.
    """
    store = EmbeddingStore(root)
    checked = store.verify()
    doctor = CaptionDoctor(store, manifest)
    doctor.examine()
    again = "none encoded again (no --text-encoder)"
    if len(store) and (text_encoder is not None or store.holds_labels):
        dtype = "fp32" if device == "cpu" else store.identity["dtype"]
        encoder = build_text_encoder(
            store.identity["type"],
            from_pretrained=text_encoder,
            max_length=store.identity.get("model_max_length"),
            num_classes=store.identity.get("num_classes"),
            dtype=dtype,
            device=device,
        )
        store.require_identity(encoder.identity())
        doctor.encode_again(encoder)
        doctor.write()
        again = "some encoded again"
    doctor.require_health()
    captions = doctor.report["captions"]
    return f"{captions} captions of {len(store)} clips, {_size(checked)} unharmed, {again}"


def _folders(roots: Sequence[Path]) -> Iterator[LatentStore]:
    """The store of each folder that holds clips, after a look at all shards of a root together."""
    for root in roots:
        LatentStore(root)
        for folder in store_folders(root):
            store = LatentStore(folder)
            if len(store):
                yield store


def _judge_alone(store: LatentStore) -> None:
    for name, rows in store.rows.groupby("bucket", sort=True):
        failure, _ = judge_latents(latent_statistics(store, rows))
        if failure is not None:
            raise StoreError(
                f"{store.root}: bucket {name} {failure}; check the VAE (its weights, scaling factor"
                " and training), then encode again"
            )


def _frame_interval(store: LatentStore, manifest: pd.DataFrame) -> int:
    """Source frames per used frame: the rate of the used ones is the condition."""
    is_video = store.rows["bucket"].map(lambda name: not Bucket.parse(name).is_image)
    videos = store.rows[is_video.astype(bool)].merge(manifest[[ID, "fps"]], on=ID)
    if videos.empty:
        return 1
    return max(1, round(float(videos["fps_y"].iloc[0]) / float(videos["fps_x"].iloc[0])))


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
