"""`opensora browse`."""

import argparse
from contextlib import suppress
from pathlib import Path

from opensora.core.arguments import port

HELP = (
    "Open a page of a run's clips, or of any stage's table: filter, sort, play, see every score and"
    " reason, correct captions, mark clips out. Only this machine can open it."
)
EXAMPLE = "opensora browse results/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "table",
        type=Path,
        help="results/RUN, a table of a stage, or the folder of its partitions",
    )
    parser.add_argument(
        "--corrections",
        type=Path,
        metavar="FILE",
        help="table to write (default: that of the run's config, else mine/corrections.csv)",
    )
    parser.add_argument("--port", type=port, default=0, help="0 for any (default: 0)")


def run(args: argparse.Namespace) -> str:
    """Serve the page until it is ended; returns the summary line."""
    from opensora.core.log import say
    from opensora.report.browse.rows import choose_corrections, named_corrections, read_rows
    from opensora.report.browse.server import Browser

    rows = read_rows(args.table)
    corrections = choose_corrections(rows.run, args.corrections)
    with Browser(rows, corrections, args.port, named_corrections(rows.run)) as server:
        say(f"browse: {server.address}\n")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return f"closed corrections={server.corrected} file={corrections}"
