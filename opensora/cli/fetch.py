"""`opensora fetch`."""

import argparse

from opensora.core.arguments import count, positive, table_file

HELP = (
    "Bring the videos of a list (a table with a column path or url of http://, https://, s3:// or"
    " hf:// addresses) to this machine: each once, checked by size and sha256, tried again with"
    " growing pauses. The table that it writes is one that `videos` of a workflow config takes;"
    " what did not come keeps its row with the reason. The same command goes on with what is left."
)
EXAMPLE = "opensora fetch mine/addresses.csv --output mine/videos --table mine/videos.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "list", help="CSV, Parquet or JSON lines: path or url; sha256, licence, text"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the files")
    parser.add_argument(
        "--table", type=table_file, required=True, metavar="FILE", help="what became of each row"
    )
    parser.add_argument(
        "--max-gb",
        type=positive,
        default=100.0,
        metavar="GB",
        help="what would take more together stays away, as over_limit (default: 100)",
    )
    parser.add_argument("--workers", type=count, default=4, help="files at a time (default: 4)")
    parser.add_argument(
        "--timeout-s",
        type=positive,
        default=60.0,
        metavar="S",
        help="seconds without a byte after which a try ends (default: 60)",
    )


def run(args: argparse.Namespace) -> str:
    """Fetch; returns the summary line."""
    from pathlib import Path

    from opensora.curation.fetch.fetch import fetch
    from opensora.curation.fetch.lists import read_list, table_of
    from opensora.tables.columns import FETCHED, OK, STATUS
    from opensora.tables.io import write_table

    rows = read_list(args.list)
    found = fetch(
        rows.wanted,
        Path(args.output),
        limit=int(args.max_gb * 1e9),
        workers=args.workers,
        timeout_s=args.timeout_s,
    )
    table = table_of(rows, found, Path(args.output), Path(args.table))
    write_table(table, args.table, FETCHED)
    good = table[table[STATUS] == OK]
    counts = table[STATUS].value_counts().sort_index()
    lost = "".join(f", {counts[name]} {name}" for name in counts.index if name != OK)
    hosts = sorted(set(good["host"]) - {""})
    via = f" from {', '.join(hosts[:3])}{', ...' if len(hosts) > 3 else ''}" if hosts else ""
    return (
        f"{len(good)} of {len(table)} files, {good['bytes'].sum() / 1e9:.3g} GB{via}{lost} ->"
        f" {args.table}"
    )
