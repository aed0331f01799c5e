"""`opensora import-manifest`."""

import argparse

from opensora.core.arguments import count, fraction, positive, table_file

HELP = (
    "Take ready clips: a table (path, text; Open-Sora's CSV, Parquet, JSON lines), a folder with"
    " captions beside the clips or with metadata.jsonl, WebDataset shards, Parquet with the clips"
    " in it, or the data set file of musubi-tuner, diffusion-pipe or finetrainers. Check every row"
    " once, look into files where the table lacks sha256 or sizes, and account for what is left"
    " out."
)
EXAMPLE = (
    "opensora import-manifest mine/meta.csv --manifest mine/manifest.csv"
    " --rejected mine/rejected.csv --funnel mine/funnel.json"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("table", help="CSV, Parquet, JSON lines or list, a folder, or dataset.toml")
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="where relative paths start (default: the working folder, or the table's own where"
        " they are found there alone)",
    )
    parser.add_argument(
        "--format", metavar="NAME", help="the layout, where it is not to be found out"
    )
    parser.add_argument(
        "--source-name",
        metavar="NAME",
        help="of the run's sources, which these clips are: a column, and the begin of each id",
    )
    parser.add_argument(
        "--licence", metavar="NAME", help="of clips of which the table tells no other"
    )
    parser.add_argument(
        "--store",
        metavar="DIR",
        help="where clips that lie in archives or in Parquet are brought out to, once",
    )
    parser.add_argument(
        "--validation-fraction",
        type=fraction,
        default=0.0,
        help="share of sources kept apart, where the table has no column split (default: 0)",
    )
    parser.add_argument(
        "--test-fraction", type=fraction, default=0.0, help="the same for the test set (default: 0)"
    )
    parser.add_argument(
        "--corrections", metavar="FILE", help="what browse wrote: captions, clips to leave out"
    )
    parser.add_argument("--workers", type=count, default=2, help="processes that look into files")
    parser.add_argument(
        "--timeout-s",
        type=positive,
        default=120.0,
        help="seconds for a file, and one more for every 5 MB; what takes longer gets a row",
    )
    _add_outputs(parser)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--manifest",
        required=True,
        help="usable clips: a .csv or .parquet file, or a folder of --num-shards partitions",
    )
    parser.add_argument(
        "--csv", type=table_file, metavar="FILE", help="the manifest as one table for people"
    )
    parser.add_argument(
        "--csv-when",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto leaves it out above a million rows; where it is left out, an older one goes"
        " (default: auto)",
    )
    parser.add_argument(
        "--num-shards", type=count, default=1, help="partitions that folders get (default: 1)"
    )
    parser.add_argument(
        "--rejected", type=table_file, required=True, help="table of all other rows, with reasons"
    )
    parser.add_argument("--funnel", required=True, help="JSON: rows and seconds in, kept, lost")
    parser.add_argument("--data-card", help="Markdown: size, licences, splits and columns")
    parser.add_argument(
        "--clips", help="training clips, as train-vae reads them: a file or folder as --manifest"
    )
    parser.add_argument(
        "--captions", help="their captions, as train-text-encoder reads them: the same"
    )


def run(args: argparse.Namespace) -> str:
    """Import; returns the summary line."""
    from pathlib import Path

    from opensora.core.io import write_json, write_text
    from opensora.core.seal import sealed
    from opensora.core.seed import stable_shard
    from opensora.curation.manifest.data_card import data_card
    from opensora.curation.manifest.import_manifest import import_manifest
    from opensora.curation.manifest.selection import Selection
    from opensora.curation.readers.reader import read_clips, root_of
    from opensora.tables.columns import CAPTIONS, CLIPS, MANIFEST, REJECTED
    from opensora.tables.corrections import read_corrections
    from opensora.tables.io import write_table
    from opensora.tables.manifest import write_manifest_csv
    from opensora.tables.partitions import shard_names, write_parts

    source = Path(args.table)
    rows = read_clips(source, args.format, Path(args.store) if args.store else None)
    made = import_manifest(
        rows,
        root=root_of(source, args.format, rows, args.root),
        validation_fraction=args.validation_fraction,
        test_fraction=args.test_fraction,
        corrections=read_corrections(args.corrections) if args.corrections else None,
        workers=args.workers,
        timeout_s=args.timeout_s,
        journal=Path(args.manifest).with_suffix(".probed.jsonl"),
        source_name=args.source_name,
        licence=args.licence or "",
    )
    write_table(made.rejected, args.rejected, REJECTED)
    write_json(args.funnel, sealed(made.funnel))
    if args.data_card:
        write_text(args.data_card, data_card(made.manifest, made.funnel, Selection(), []))
    if args.csv:
        write_manifest_csv(made.manifest, args.csv, args.csv_when)
    names = shard_names(args.num_shards)
    for path, rows, table in (
        (args.clips, made.clips, CLIPS),
        (args.captions, made.captions, CAPTIONS),
        (args.manifest, made.manifest, MANIFEST),
    ):
        if path:
            parts = rows["id"].map(lambda name: names[stable_shard(name, args.num_shards)])
            write_parts(rows, path, table, parts, names, index=table is MANIFEST)
    reasons = made.rejected["reason"].value_counts().sort_index()
    lost = ", ".join(f"{name} {count}" for name, count in reasons.items())
    corrected = f", sizes of {made.corrected} corrected" if made.corrected else ""
    return (
        f"{len(made.manifest)} of {len(made.manifest) + len(made.rejected)} rows taken{corrected},"
        f" {len(made.rejected)} rejected{f' ({lost})' if lost else ''} -> {args.manifest}"
    )
