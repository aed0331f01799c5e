"""`opensora encode-videos`: find the latents of a shard in the store, or make them."""

import argparse
from typing import Any

from opensora.config.given_frames import GIVEN_FRAMES
from opensora.core.arguments import count, not_negative, whole

HELP = (
    "Find the latents of the clips of one or more stages in a store that runs share, encode those"
    " that it lacks with a VAE, and write an index for each stage. A second run encodes nothing and"
    " loads no VAE; a stopped one goes on. A clip that can not be read is a row with its reason."
)
EXAMPLE = (
    "opensora encode-videos --items mine/buckets/stage1/0000.parquet --vae mine/models/vae"
    " --store mine/store/latents --output mine/latents/stage1/0000.parquet"
)
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--items",
        nargs="+",
        required=True,
        metavar="TABLE",
        help="clips at their buckets, of `assign-buckets --items`; one table a stage",
    )
    parser.add_argument(
        "--output",
        nargs="+",
        required=True,
        metavar="INDEX",
        help="an index (.parquet) for each table, in order",
    )
    parser.add_argument("--store", required=True, metavar="DIR", help="latents that runs share")
    parser.add_argument(
        "--shard", type=whole, default=0, metavar="K", help="index of the shard of the tables"
    )
    parser.add_argument("--num-shards", type=count, default=1, metavar="N", help="shards in all")
    parser.add_argument("--vae", required=True, metavar="FOLDER", help="folder or hub name")
    parser.add_argument(
        "--dtype", choices=("bf16", "fp32"), default="bf16", help="stored type (default: bf16)"
    )
    parser.add_argument(
        "--posterior",
        choices=("sample", "mean", "moments"),
        default="sample",
        help="a draw from the posterior, its centre, or centre and deviation, from which training"
        " draws in every epoch anew and which take twice the disk (default: sample)",
    )
    parser.add_argument("--seed", type=int, default=42, help="base of the draws (default: 42)")
    parser.add_argument(
        "--batch-size", type=count, default=16, metavar="N", help="frames per forward (default: 16)"
    )
    parser.add_argument(
        "--min-psnr",
        type=not_negative,
        default=15.0,
        metavar="DB",
        help="stop if decoded latents of a bucket are worse than this (default: 15)",
    )
    parser.add_argument(
        "--given",
        choices=GIVEN_FRAMES,
        help="also store the latents of the frames that a model of image to video begins with:"
        " the first one, or the first and the last",
    )
    parser.add_argument(
        "--image-encoder",
        metavar="FOLDER",
        help="pipeline whose CLIP embeds these frames, folder or hub name; for models that read it",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:1; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Look up, encode; returns the summary line."""
    from pathlib import Path

    from opensora.core.text import counted
    from opensora.models.weights.folders import (
        clips_learned_from,
        encoder_sha256,
        picture_folders,
        resolve_folder,
    )
    from opensora.precompute.encode_videos import encode_videos, read_items
    from opensora.precompute.video_encoding import VideoEncoding
    from opensora.stores.index import remove_older
    from opensora.stores.keys import check_shard

    check_shard(args.shard, args.num_shards)
    pictures = None if args.image_encoder is None else picture_folders(args.image_encoder)
    encoding = VideoEncoding(
        dtype=args.dtype,
        posterior=args.posterior,
        seed=args.seed,
        batch_size=args.batch_size,
        min_psnr=args.min_psnr,
        given=args.given,
        image_encoder=None if pictures is None else encoder_sha256(*pictures),
    )
    folder = resolve_folder(args.vae, kind="autoencoder", part="vae")

    def load() -> tuple[Any, str]:
        from opensora.models.build import load_autoencoder  # loads torch, which takes seconds
        from opensora.models.device import choose_device
        from opensora.precompute.encode_clips import compute_dtype

        device = choose_device(args.device)
        return load_autoencoder(str(folder), device, compute_dtype(device, args.dtype)), device

    counts = encode_videos(
        [read_items(Path(path)) for path in args.items],
        [Path(path) for path in args.output],
        Path(args.store),
        encoding,
        load,
        encoder=encoder_sha256(folder),
        load_pictures=None if pictures is None else lambda: _load_pictures(args),
        learned_from=clips_learned_from(folder),
        shard=args.shard,
        num_shards=args.num_shards,
    )
    for index in args.output:
        remove_older(Path(index), args.num_shards)
    rejected = f", {counts['rejected']} not encoded" if counts["rejected"] else ""
    return (
        f"{counted(counts['clips'], 'clip')} in {counted(counts['files'], 'file')}:"
        f" {counts['encoded']} encoded, {counts['found']} found{rejected}"
        f" -> {', '.join(args.output)}"
    )


def _load_pictures(args: argparse.Namespace) -> Any:
    """What embeds given frames."""
    from opensora.models.device import choose_device
    from opensora.models.open.pictures import PictureEncoder  # loads torch

    return PictureEncoder(args.image_encoder, choose_device(args.device))
