"""`opensora ingest-videos`."""

import argparse
from pathlib import Path

from opensora.core.arguments import count, positive, table_file, whole

HELP = "Find, probe and hash videos and images; every file gets one row, readable or not."
EXAMPLE = (
    "opensora ingest-videos mine/videos --output mine/videos.csv --shards-dir mine/shards"
    " --num-shards 4"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="folder (recursive), quoted glob, file, or CSV/Parquet list with a `path` column",
    )
    parser.add_argument(
        "--output", type=table_file, required=True, help="table of the videos, .csv or .parquet"
    )
    shards = parser.add_mutually_exclusive_group()
    shards.add_argument("--shards-dir", help="folder of 0000, 0001, ... in the format of --output")
    shards.add_argument("--shard", type=whole, help="put this shard alone into --output")
    parser.add_argument("--num-shards", type=count, help="number of shards")
    parser.add_argument(
        "--source-name",
        metavar="NAME",
        help="of the run's sources, which these videos are: a column, and the begin of each id",
    )
    parser.add_argument(
        "--licence", metavar="NAME", help="of the files of which no list tells another"
    )
    parser.add_argument("--listing", help="keep here what tells a file's shard, to open it once")
    parser.add_argument("--workers", type=count, default=2, help="processes that probe files")
    parser.add_argument(
        "--timeout-s",
        type=positive,
        default=120.0,
        help="seconds for a file, and one more for every 5 MB; what takes longer gets a row",
    )


def run(args: argparse.Namespace) -> str:
    """Ingest; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.core.text import counted
    from opensora.curation.ingest.ingest_videos import ingest_videos, write_shards
    from opensora.tables.columns import VIDEOS
    from opensora.tables.io import write_table

    in_shards = args.shards_dir is not None or args.shard is not None
    if in_shards != (args.num_shards is not None):
        raise ConfigError("--num-shards belongs to --shards-dir or --shard; give both or neither")
    if args.shard is not None and args.shard >= args.num_shards:
        raise ConfigError(f"--shard {args.shard}: expected 0 to {args.num_shards - 1}")
    videos = ingest_videos(
        args.inputs,
        workers=args.workers,
        timeout_s=args.timeout_s,
        journal=Path(args.output).with_suffix(".probed.jsonl"),
        shard=None if args.shard is None else (args.shard, args.num_shards),
        listing=args.listing,
        source_name=args.source_name,
        licence=args.licence or "",
    )
    where = ""
    if args.shards_dir is not None:
        suffix = Path(args.output).suffix
        write_shards(videos, args.shards_dir, args.num_shards, suffix)
        where = f" in {counted(args.num_shards, 'shard')}"
    elif args.shard is not None:
        where = f" in shard {args.shard} of {args.num_shards}"
    write_table(videos, args.output, VIDEOS)
    good = int((videos["status"] == "ok").sum())
    return f"{good} of {len(videos)} files usable{where} -> {args.output}"
