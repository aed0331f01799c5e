"""`opensora report`: write the HTML report of a run."""

import argparse
from pathlib import Path

HELP = "Write a page about a run: footage, training, samples, evaluation; opens without a network."
EXAMPLE = "opensora report --run-dir results/demo --output results/demo/report/index.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--run-dir", type=Path, required=True, help="results folder of the run")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="the HTML file to write; what it loads is put into a folder beside it, index_files",
    )
    parser.add_argument(
        "--benchmarks", type=Path, help="Snakemake's benchmark folder, for the time of each stage"
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="draw the charts as SVG files too"
    )
    parser.add_argument(
        "--zip", type=Path, metavar="FILE", help="pack page and folder into one file, to send them"
    )
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="comparisons to show too, of opensora evaluate --against",
    )


def run(args: argparse.Namespace) -> str:
    """Render; returns the summary line."""
    from opensora.report.pages import write_report

    return write_report(
        args.run_dir,
        args.output,
        benchmarks=args.benchmarks,
        archive=args.zip,
        pictures=args.pictures,
        against=args.against,
    )
