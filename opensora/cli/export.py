"""`opensora export`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from opensora.core.arguments import count, positive

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
_OF_TRAINERS = ("musubi", "diffusion-pipe", "finetrainers", "ltx")
_FORMATS = (
    *("folder", "jsonl", "videofolder", "webdataset", "parquet", "csv"),
    *_OF_TRAINERS,
)
_SHARDED = ("webdataset", "parquet")
_WITH_LATENTS = ("musubi", "ltx")
_WITH_CARD = (*_SHARDED, "videofolder")
# options that say nothing to the other formats
_ONLY_OF = {
    **dict.fromkeys(("shard_size", "shard_mb"), _SHARDED),
    **dict.fromkeys(("frames", "size", "fps"), _OF_TRAINERS),
    "latents": _WITH_LATENTS,
}
_MB = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--manifest", type=Path, required=True, help="table of usable clips")
    parser.add_argument("--format", choices=_FORMATS, required=True, help="layout of the output")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the files, or the CSV file"
    )
    parser.add_argument(
        "--shard-size", type=count, help="clips a file of webdataset, parquet (default: 1000)"
    )
    parser.add_argument(
        "--shard-mb", type=count, help="MB of clips in such a file at most (default: 1000)"
    )
    parser.add_argument(
        "--push",
        metavar="NAME",
        help="upload webdataset, parquet or videofolder to this data set of the hub, which is made"
        " private; the token is HF_TOKEN of the environment",
    )
    parser.add_argument(
        "--media",
        choices=("copy", "none"),
        default="copy",
        help="none leaves the clips where they are, and the tables of jsonl, parquet and musubi"
        " name them there (default: copy)",
    )
    parser.add_argument(
        "--frames",
        type=count,
        nargs="+",
        metavar="N",
        help="counts of frames that the trainer gets; each clip has the longest that it fills"
        " (default: those of the shortest, the middle and the longest clip)",
    )
    parser.add_argument(
        "--size",
        type=count,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of the trainer's pictures in pixels (default: the middle of the clips')",
    )
    parser.add_argument(
        "--fps",
        type=positive,
        help="rate at which the trainer's model samples, as 16 for Wan: frames are counted at it"
        " (default: each clip's own)",
    )
    parser.add_argument(
        "--latents",
        type=Path,
        metavar="DIR",
        help="hand these over too, as results/RUN/latents/STAGE of Wan's autoencoder to musubi or"
        " of LTX's to ltx, which then need not encode; counts of frames and sizes are theirs",
    )


def run(args: argparse.Namespace) -> str:
    """Export; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.core.text import counted
    from opensora.tables.columns import MANIFEST, SHARD
    from opensora.tables.io import write_table
    from opensora.tables.manifest import read_manifest

    _check_options(args)
    if args.push:
        _check_push(args)
    if args.fps is not None and args.fps > 1000:
        raise ConfigError(f"--fps {args.fps:g}: expected frames a second, at most 1000")
    manifest = read_manifest(args.manifest).drop(columns=SHARD, errors="ignore")
    if args.format == "csv":
        write_table(manifest, args.output, MANIFEST)
        return f"{counted(len(manifest), 'clip')} -> {args.output}"
    summary = _sharded(args, manifest) if args.format in _SHARDED else _in_folder(args, manifest)
    if args.push:
        from opensora.core.hub import DATASET, push_folder

        message = "clips by opensora export"
        summary += f" -> {push_folder(args.output, args.push, kind=DATASET, message=message)}"
    return summary


def _check_push(args: argparse.Namespace) -> None:
    from opensora.core.errors import ConfigError
    from opensora.core.hub import check_push

    if args.format not in _WITH_CARD or args.media != "copy":
        raise ConfigError(
            f"--push: a hub takes clips and a card, as of --format {', '.join(_WITH_CARD)} with"
            " --media copy"
        )
    check_push(args.push)


def _check_options(args: argparse.Namespace) -> None:
    from opensora.core.errors import ConfigError

    given = [name for name in _ONLY_OF if getattr(args, name) is not None]
    for name in given:
        if args.format not in _ONLY_OF[name]:
            raise ConfigError(
                f"--{name.replace('_', '-')}: says nothing to --format {args.format}; leave it out,"
                f" or take --format {' or '.join(_ONLY_OF[name])}"
            )
    if args.latents and (found := next((n for n in ("frames", "size", "fps") if n in given), None)):
        raise ConfigError(
            f"--{found}: has no effect with --latents, whose frames and sizes are those of the"
            " buckets they were encoded at; leave it out"
        )
    if args.format == "csv" and args.output.is_dir():
        raise ConfigError(f"--output {args.output}: is a folder; name the CSV file")
    if args.format != "csv" and args.output.is_file():
        raise ConfigError(f"--output {args.output}: is a file; name a folder, which is made")


def _in_folder(args: argparse.Namespace, manifest: "pd.DataFrame") -> str:
    from opensora.core.text import counted
    from opensora.curation.export.dataset_card import card_beside
    from opensora.curation.export.folders import LEFT_OUT, Choice, export_folder
    from opensora.tables.checks import TRAIN
    from opensora.tables.columns import ID

    card = card_beside(args.manifest)
    choice = Choice(args.frames, args.size and tuple(args.size), args.fps, card, args.latents)
    left = export_folder(
        manifest, args.output, args.format, copy=args.media == "copy", choice=choice
    )
    without = f", {len(left)} left out ({args.output / LEFT_OUT})" if len(left) else ""
    kept = manifest[~manifest[ID].isin(left[ID])]
    held_out = int((kept["split"] != TRAIN).sum())
    apart = f", {held_out} of them held out" if held_out else ""
    return f"{counted(len(kept), 'clip')}{apart}{without} -> {args.output}"


def _sharded(args: argparse.Namespace, manifest: "pd.DataFrame") -> str:
    from opensora.core.errors import ConfigError
    from opensora.core.text import counted
    from opensora.curation.export.dataset_card import card_beside
    from opensora.curation.export.formats import Shards, export_parquet, export_webdataset

    given = {"clips": args.shard_size, "num_bytes": args.shard_mb and args.shard_mb * _MB}
    shards = Shards(**{name: value for name, value in given.items() if value is not None})
    card = card_beside(args.manifest)
    copy = args.media == "copy"
    if args.format == "parquet":
        files = export_parquet(manifest, args.output, shards, card, copy=copy)
    elif copy:
        files = export_webdataset(manifest, args.output, shards, card)
    else:
        raise ConfigError("--media none: webdataset holds the clips; leave it out")
    return f"{counted(len(manifest), 'clip')} in {counted(len(files), 'file')} -> {args.output}"
