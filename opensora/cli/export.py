"""`opensora export`."""

import argparse
from pathlib import Path

HELP = (
    "Write a manifest's clips as WebDataset shards or as Parquet for Hugging Face datasets, or the"
    " manifest alone as one CSV table."
)
EXAMPLE = (
    "opensora export --manifest results/demo/manifest --format webdataset --output mine/shards"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--manifest", type=Path, required=True, help="table of usable clips")
    parser.add_argument("--format", choices=["webdataset", "parquet", "csv"], required=True)
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the shards, or the CSV file"
    )
    parser.add_argument("--shard-size", type=int, default=1000, help="clips a file (1000)")


def run(args: argparse.Namespace) -> str:
    """Export; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.curation.export.formats import export_parquet, export_webdataset
    from opensora.tables.columns import MANIFEST, SHARD
    from opensora.tables.io import write_table
    from opensora.tables.manifest import read_manifest

    if args.shard_size < 1:
        raise ConfigError(f"--shard-size {args.shard_size}: expected at least 1")
    manifest = read_manifest(args.manifest).drop(columns=SHARD, errors="ignore")
    if args.format == "csv":
        write_table(manifest, args.output, MANIFEST)
        return f"{len(manifest)} clips -> {args.output}"
    if args.format == "webdataset":
        files = export_webdataset(manifest, args.output, args.shard_size)
    else:
        card = args.manifest.with_name("data_card.md")
        text = card.read_text(encoding="utf-8") if card.is_file() else "# Video clips\n"
        files = export_parquet(manifest, args.output, args.shard_size, text)
    return f"{len(manifest)} clips in {len(files)} files -> {args.output}"
