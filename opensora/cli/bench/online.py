"""`opensora bench online`: clips a second of training straight from a folder of images."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Time online training, which decodes and encodes while it trains, on a folder of images that"
    " it makes, with --against CHECKOUT beside another checkout's, in turns."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--clips", type=count, default=96, help="images (default: 96)")
    parser.add_argument("--batch-size", type=count, default=8, help="of a step (default: 8)")
    parser.add_argument(
        "--width", type=count, default=768, help="channels of the text encoder (default: 768)"
    )
    parser.add_argument("--depth", type=count, default=12, help="its blocks (default: 12)")
    parser.add_argument(
        "--rounds", type=count, default=1, help="runs of each; the median counts (default: 1)"
    )
    parser.add_argument("--against", metavar="CHECKOUT", help="folder of another checkout")


def run(args: argparse.Namespace) -> str:
    """Measure; returns the summary line."""
    from opensora.bench.checkout import find_checkout
    from opensora.core.errors import ConfigError
    from opensora.core.log import say

    if args.batch_size > args.clips:
        raise ConfigError(
            f"--batch-size {args.batch_size} is more than --clips {args.clips}; give at least one"
            " batch of clips"
        )
    if args.width < 64 or args.width % 64:
        raise ConfigError(f"--width is {args.width}; expected a multiple of 64")
    other = None if args.against is None else find_checkout(args.against)
    from opensora.bench.online import bench_online

    table, line = bench_online(
        clips=args.clips,
        batch_size=args.batch_size,
        width=args.width,
        depth=args.depth,
        rounds=args.rounds,
        against=other,
    )
    say(table)
    return line
