"""`opensora train-clip`: train a small CLIP."""

import argparse
from pathlib import Path

from opensora.core.arguments import count

HELP = (
    "Train a small CLIP on clips and captions. Any field of the config can be given as"
    " --field VALUE."
)
EXAMPLE = (
    "opensora train-clip configs/demo/clip.py --clips results/demo/clips/0000.parquet"
    " --captions results/demo/captions/0000.parquet --output mine/models/clip"
)
TAKES_OVERRIDES = True
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="MMEngine .py config")
    parser.add_argument("--clips", nargs="+", required=True, help="tables of clips")
    parser.add_argument("--captions", nargs="+", required=True, help="tables of captions")
    parser.add_argument(
        "--num-shards",
        type=count,
        metavar="N",
        help="a table named {shard}.parquet stands for those of 0000 to N - 1",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to make")


def run(args: argparse.Namespace) -> str:
    """Train; returns the summary line."""
    from opensora.encoders.train_clip import ClipConfig, train_clip
    from opensora.encoders.trainer import read_fields
    from opensora.tables.partitions import tables_of_shards

    clips = tables_of_shards(args.clips, args.num_shards, "--clips")
    captions = tables_of_shards(args.captions, args.num_shards, "--captions")
    config = read_fields(args.config, args.overrides, ClipConfig)
    return train_clip(config, clips, captions, args.output)
