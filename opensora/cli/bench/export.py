"""`opensora bench export`: rows a second of every format, against `cp` of what came out."""

import argparse

from opensora.core.arguments import at_least

HELP = (
    "Time the export of a made manifest without media in every format that takes one, against"
    " cp of the files."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--rows", type=at_least(100), default=100_000, help="of the manifest (default: 100,000)"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures")


def run(args: argparse.Namespace) -> str:
    """Measure, print the table; returns the summary line."""
    from opensora.bench.data.export import bench_export, export_summary, export_table
    from opensora.core.io import write_json
    from opensora.core.log import say

    found = bench_export(args.rows)
    if args.json:
        write_json(args.json, found)
    say(export_table(found))
    return export_summary(found)
