"""`opensora report`: write the HTML report of a run."""

import argparse
from pathlib import Path

HELP = "Write one self-contained HTML page about a run: footage, training, samples, evaluation."
EXAMPLE = "opensora report --run-dir results/demo --output results/demo/report/index.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--run-dir", type=Path, required=True, help="results folder of the run")
    parser.add_argument("--output", type=Path, required=True, help="the HTML file to write")
    parser.add_argument(
        "--benchmarks", type=Path, help="Snakemake's benchmark folder, for the time of each stage"
    )
    parser.add_argument(
        "--embed-mb",
        type=float,
        default=24.0,
        help="embed up to this many megabytes of samples, link the rest (default: 24)",
    )


def run(args: argparse.Namespace) -> str:
    """Render; returns the summary line."""
    from opensora.report.render import write_report

    return write_report(
        args.run_dir, args.output, benchmarks=args.benchmarks, embed_mb=args.embed_mb
    )
