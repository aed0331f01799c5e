"""`opensora ingest-videos`."""

import argparse

HELP = "Find, probe and hash videos and images; every file gets one row, readable or not."
EXAMPLE = (
    "opensora ingest-videos data/videos --output videos.csv --shards-dir shards --num-shards 4"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="folder (recursive), quoted glob, file, or CSV/Parquet list with a `path` column",
    )
    parser.add_argument("--output", required=True, help="table of all videos")
    parser.add_argument("--shards-dir", required=True, help="folder of 0000.csv, 0001.csv, ...")
    parser.add_argument("--num-shards", type=int, required=True, help="number of shard tables")
    parser.add_argument("--workers", type=int, default=2, help="files probed at the same time")


def run(args: argparse.Namespace) -> str:
    """Ingest; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.curation.ingest import ingest_videos, write_shards
    from opensora.tables.columns import VIDEOS
    from opensora.tables.io import write_table

    if args.num_shards < 1:
        raise ConfigError(f"--num-shards {args.num_shards}: expected at least 1")
    videos = ingest_videos(args.inputs, workers=args.workers)
    write_shards(videos, args.shards_dir, args.num_shards)
    write_table(videos, args.output, VIDEOS)
    good = int((videos["status"] == "ok").sum())
    return f"{good} of {len(videos)} files usable in {args.num_shards} shards -> {args.output}"
