"""`opensora train-vae`: train a small image VAE."""

import argparse
from pathlib import Path

from opensora.core.arguments import count, fraction

HELP = (
    "Train a small image VAE on the frames of clips. Any field of the config can be given as"
    " --field VALUE."
)
EXAMPLE = (
    "opensora train-vae configs/demo/vae.py --clips results/demo/clips/0000.parquet"
    " --output mine/models/vae"
)
TAKES_OVERRIDES = True
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="MMEngine .py config")
    parser.add_argument("--clips", nargs="+", required=True, help="tables of clips")
    for name, default in (("validation", 0.1), ("test", 0.0)):
        parser.add_argument(
            f"--{name}-fraction",
            type=fraction,
            default=default,
            metavar="F",
            help=f"share of source videos held out, as in build-manifest (default: {default:g})",
        )
    parser.add_argument(
        "--num-shards",
        type=count,
        metavar="N",
        help="a table named {shard}.parquet stands for those of 0000 to N - 1",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to make")


def run(args: argparse.Namespace) -> str:
    """Train; returns the summary line."""
    from opensora.encoders.train_vae import VaeConfig, train_vae
    from opensora.encoders.trainer import read_fields
    from opensora.tables.partitions import tables_of_shards

    clips = tables_of_shards(args.clips, args.num_shards, "--clips")
    config = read_fields(args.config, args.overrides, VaeConfig)
    return train_vae(
        config,
        clips,
        args.output,
        validation_fraction=args.validation_fraction,
        test_fraction=args.test_fraction,
    )
