"""`opensora index-tables`."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Write bytes and sha256 of tables into one file, which changes when any of them does: what"
    " reads the tables of all shards depends on it."
)
EXAMPLE = (
    "opensora index-tables 'mine/clips/{shard}.parquet' 'mine/captions/{shard}.parquet'"
    " --num-shards 8 --output mine/tables.json"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="of any kind")
    parser.add_argument(
        "--num-shards",
        type=count,
        metavar="N",
        help="a table named {shard}.parquet stands for those of 0000 to N - 1",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the index, JSON")


def run(args: argparse.Namespace) -> str:
    """Index; returns the summary line."""
    from opensora.core.terminal import short
    from opensora.tables.part_index import write_index
    from opensora.tables.partitions import tables_of_shards

    tables = tables_of_shards(args.tables, args.num_shards, "TABLE")
    size = write_index(args.output, tables)
    return f"{len(tables)} tables of {short(size, 'B')} -> {args.output}"
