"""`opensora train-text-encoder`: train a tiny byte-level T5 encoder."""

import argparse
from pathlib import Path

from opensora.core.arguments import count

HELP = (
    "Train a tiny byte-level T5 encoder on captions. Any field of the config can be given as"
    " --field VALUE."
)
EXAMPLE = (
    "opensora train-text-encoder configs/demo/text_encoder.py"
    " --captions results/demo/captions/0000.parquet --output mine/models/text_encoder"
)
TAKES_OVERRIDES = True
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="MMEngine .py config")
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
    from opensora.encoders.train_text_encoder import TextEncoderConfig, train_text_encoder
    from opensora.encoders.trainer import read_fields
    from opensora.tables.partitions import tables_of_shards

    captions = tables_of_shards(args.captions, args.num_shards, "--captions")
    config = read_fields(args.config, args.overrides, TextEncoderConfig)
    return train_text_encoder(config, captions, args.output)
