"""`opensora train-clip`: train a small CLIP."""

import argparse
from pathlib import Path

HELP = (
    "Train a small CLIP on clips and captions. Any field of the config can be given as"
    " --field VALUE."
)
EXAMPLE = (
    "opensora train-clip configs/demo/clip.py --clips results/demo/clips/*.parquet"
    " --captions results/demo/captions/*.parquet --output mine/models/clip"
)
TAKES_OVERRIDES = True
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="MMEngine .py config")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="tables of clips")
    parser.add_argument(
        "--captions", type=Path, nargs="+", required=True, help="tables of captions"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to make")


def run(args: argparse.Namespace) -> str:
    """Train; returns the summary line."""
    from opensora.encoders.train_clip import ClipConfig, train_clip
    from opensora.encoders.trainer import read_fields

    config = read_fields(args.config, args.overrides, ClipConfig)
    return train_clip(config, args.clips, args.captions, args.output)
