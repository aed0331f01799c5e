"""`opensora bench report`: time to open and to filter reports of runs of different sizes."""

import argparse

from opensora.core.arguments import at_least, count

HELP = (
    "Time, in Chromium, how long reports of made-up runs with few and many samples and clips take"
    " to open and to filter."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--samples",
        type=at_least(2),
        nargs="+",
        default=[10, 100, 1_000],
        metavar="N",
        help="of each run, rising (default: 10 100 1000)",
    )
    parser.add_argument(
        "--clips",
        type=at_least(10),
        default=100_000,
        help="of the run with many (default: 100,000)",
    )
    parser.add_argument(
        "--rounds", type=count, default=3, help="openings; the median counts (default: 3)"
    )


def run(args: argparse.Namespace) -> str:
    """Measure; returns the summary line."""
    from opensora.bench.report.measure import bench_report
    from opensora.core.log import say
    from opensora.report.pages import write_report

    table, line = bench_report(
        write_report, samples=sorted(args.samples), clips=args.clips, rounds=args.rounds
    )
    say(table)
    return line
