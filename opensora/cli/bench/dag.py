"""`opensora bench dag`: what Snakemake takes for the workflow, beside a bare one of its shape."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Time `snakemake -n` and the start of a job of this workflow, beside a bare workflow with the"
    " same rules, files and jobs, in turns."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--shards",
        type=count,
        nargs="+",
        default=[100, 1000],
        metavar="N",
        help="numbers of shards, one after the other (default: 100 1000)",
    )
    parser.add_argument(
        "--files", type=count, default=100, metavar="N", help="input videos (default: 100)"
    )
    parser.add_argument(
        "--repeats", type=count, default=1, metavar="N", help="timings, median counts (default: 1)"
    )
    parser.add_argument("--output", metavar="FILE", help="all figures (.json)")


def run(args: argparse.Namespace) -> str:
    """Measure, print, write; returns the summary line."""
    from pathlib import Path

    from opensora.bench.dag import bench_dag, dag_report, dag_summary
    from opensora.core.io import write_json
    from opensora.core.log import say

    found = bench_dag(args.shards, repository=Path(), files=args.files, repeats=args.repeats)
    if args.output:
        write_json(args.output, found)
    say(dag_report(found))
    return dag_summary(found)
