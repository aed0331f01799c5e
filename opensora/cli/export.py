"""`opensora export`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

HELP = (
    "Write a manifest's clips for others: as WebDataset shards, as Parquet or videofolder for"
    " Hugging Face datasets, as files with captions beside them or in JSON lines, in the layout of"
    " another trainer with its settings (musubi-tuner, diffusion-pipe, finetrainers, LTX), or the"
    " manifest alone as one CSV table."
)
EXAMPLE = (
    "opensora export --manifest results/demo/manifest --format musubi --output mine/musubi --fps 16"
)
_FORMATS = (
    *("folder", "jsonl", "videofolder", "webdataset", "parquet", "csv"),
    *("musubi", "diffusion-pipe", "finetrainers", "ltx"),
)
_SHARDED = ("webdataset", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--manifest", type=Path, required=True, help="table of usable clips")
    parser.add_argument("--format", choices=_FORMATS, required=True)
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the files, or the CSV file"
    )
    parser.add_argument(
        "--shard-size", type=int, default=1000, help="clips a file of webdataset, parquet (1000)"
    )
    parser.add_argument(
        "--media",
        choices=("copy", "none"),
        default="copy",
        help="none leaves the clips where they are, and the tables of jsonl, musubi and ltx name"
        " them there (default: copy)",
    )
    parser.add_argument(
        "--frames",
        type=int,
        nargs="+",
        metavar="N",
        help="counts of frames that the trainer gets; each clip has the longest that it fills"
        " (default: those of the shortest, the middle and the longest clip)",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of the trainer's pictures in pixels (default: the middle of the clips')",
    )
    parser.add_argument(
        "--fps",
        type=float,
        help="rate at which the trainer's model samples, as 16 for Wan: frames are counted at it"
        " (default: each clip's own)",
    )


def run(args: argparse.Namespace) -> str:
    """Export; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.tables.columns import MANIFEST, SHARD
    from opensora.tables.io import write_table
    from opensora.tables.manifest import read_manifest

    if args.shard_size < 1:
        raise ConfigError(f"--shard-size {args.shard_size}: expected at least 1")
    if args.fps is not None and not 0 < args.fps <= 1000:
        raise ConfigError(f"--fps {args.fps:g}: expected frames a second, above 0")
    if args.size is not None and min(args.size) < 1:
        raise ConfigError(f"--size {args.size[0]} {args.size[1]}: expected pixels, at least 1")
    manifest = read_manifest(args.manifest).drop(columns=SHARD, errors="ignore")
    if args.format == "csv":
        write_table(manifest, args.output, MANIFEST)
        return f"{len(manifest)} clips -> {args.output}"
    if args.format in _SHARDED:
        return _sharded(args, manifest)
    from opensora.curation.export.folders import LEFT_OUT, Choice, export_folder

    choice = Choice(args.frames, args.size and tuple(args.size), args.fps)
    left = export_folder(
        manifest, args.output, args.format, copy=args.media == "copy", choice=choice
    )
    without = f", {len(left)} left out ({args.output / LEFT_OUT})" if len(left) else ""
    return f"{len(manifest) - len(left)} clips{without} -> {args.output}"


def _sharded(args: argparse.Namespace, manifest: "pd.DataFrame") -> str:
    from opensora.curation.export.formats import export_parquet, export_webdataset

    if args.format == "webdataset":
        files = export_webdataset(manifest, args.output, args.shard_size)
    else:
        card = args.manifest.with_name("data_card.md")
        text = card.read_text(encoding="utf-8") if card.is_file() else "# Video clips\n"
        files = export_parquet(manifest, args.output, args.shard_size, text)
    return f"{len(manifest)} clips in {len(files)} files -> {args.output}"
