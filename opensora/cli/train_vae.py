"""`opensora train-vae`: train a small image VAE."""

import argparse
from pathlib import Path

HELP = (
    "Train a small image VAE on the frames of clips. Any field of the config can be given as"
    " --field VALUE."
)
EXAMPLE = (
    "opensora train-vae configs/demo/vae.py --manifest results/demo/manifest.csv"
    " --output results/demo/models/vae"
)
TAKES_OVERRIDES = True
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="MMEngine .py config")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest.csv")
    parser.add_argument("--output", type=Path, required=True, help="folder to make")


def run(args: argparse.Namespace) -> str:
    """Train; returns the summary line."""
    from opensora.training.small.common import read_fields
    from opensora.training.small.vae import VaeConfig, train_vae

    config = read_fields(args.config, args.overrides, VaeConfig)
    return train_vae(config, args.manifest, args.output)
