"""`opensora bench loader`: how fast batches come from the stores, or from video files."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Time the loader of precomputed latents against a plain read of the same files, or with"
    " --manifest the online loader against decoding just the frames it needs."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    stored = parser.add_argument_group("precomputed latents")
    stored.add_argument("--latents", metavar="DIR", help="folder of the latent store")
    stored.add_argument("--embeddings", metavar="DIR", help="folder of the embedding store")
    stored.add_argument("--plan", metavar="FILE", help="plan of assign-buckets")
    stored.add_argument(
        "--synthetic",
        type=count,
        default=2000,
        metavar="N",
        help="without stores: random ones of N clips of 256x256x16 in the temporary folder"
        " (default: 2000, about 1.4 GB)",
    )
    stored.add_argument(
        "--rounds",
        type=count,
        default=5,
        metavar="R",
        help="measurements of each kind (default: 5)",
    )
    online = parser.add_argument_group("video files")
    online.add_argument("--manifest", metavar="FILE", help="clips to decode")
    online.add_argument("--num-clips", type=count, default=64, help="clips to read (default: 64)")
    online.add_argument("--num-frames", type=count, default=16, help="of a clip (default: 16)")
    online.add_argument(
        "--frame-interval", type=count, default=3, help="source frames per used one (default: 3)"
    )
    online.add_argument(
        "--image-size",
        type=count,
        nargs=2,
        default=(256, 256),
        metavar=("H", "W"),
        help="of the batches (default: 256 256)",
    )
    parser.add_argument(
        "--batch-size",
        type=count,
        metavar="B",
        help="of the random stores (default: 16) or of the online loader (default: 4)",
    )


def run(args: argparse.Namespace) -> str:
    """Measure; returns the summary line."""
    from opensora.core.errors import ConfigError

    given = [args.latents, args.embeddings, args.plan]
    if args.manifest is not None:
        if any(given):
            raise ConfigError("--manifest measures the online loader; leave out the stores")
        return _run_online(args)
    if None in given and any(given):
        raise ConfigError(
            "give --latents, --embeddings and --plan together, or none of them to measure with"
            " random stores"
        )
    if args.latents and args.batch_size is not None:
        raise ConfigError("--batch-size: the plan decides it; leave it out beside --plan")
    return _run_stored(args)


def _run_stored(args: argparse.Namespace) -> str:
    from contextlib import nullcontext
    from pathlib import Path

    from opensora.bench.loader import GOAL, measure_loader, synthetic_stores
    from opensora.core.log import say

    stores = (
        nullcontext((Path(args.latents), Path(args.embeddings), Path(args.plan)))
        if args.latents
        else synthetic_stores(args.synthetic, 16 if args.batch_size is None else args.batch_size)
    )
    with stores as (latents, embeddings, plan):
        figures = measure_loader(latents, embeddings, plan, rounds=args.rounds)
    say(figures.table())
    return (
        f"latents and text at {figures.later_passes / 1e9:.2f} GB/s, {figures.ratio:.0%} of a plain"
        f" sequential read (goal: {GOAL:.0%}), {figures.cpu_ms_per_batch:.2f} ms of processor time"
        f" a batch, peak memory {figures.peak_bytes / 1e9:.2f} GB"
    )


def _run_online(args: argparse.Namespace) -> str:
    from opensora.bench import online_loader

    return online_loader.bench_online_loader(
        args.manifest,
        num_clips=args.num_clips,
        num_frames=args.num_frames,
        frame_interval=args.frame_interval,
        image_size=tuple(args.image_size),
        batch_size=4 if args.batch_size is None else args.batch_size,
    )
