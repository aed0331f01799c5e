"""`opensora bench curation`."""

import argparse
from typing import Any

from opensora.core.arguments import count, positive

HELP = (
    "Time ingest, scenes, clips and scores (technical, flow) on your videos, against a plain decode"
    " and encode of the same frames; or see what memory they take on a long video; or with --clips"
    " what processor time many short clips take to a manifest, here and in another checkout."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("videos", nargs="*", metavar="VIDEOS", help="folders or files")
    parser.add_argument(
        "--workers", type=count, default=2, metavar="N", help="processes (default: 2)"
    )
    parser.add_argument(
        "--long-video",
        type=positive,
        metavar="SECONDS",
        help="in place of VIDEOS: generate one 1080p video of this length",
    )
    parser.add_argument(
        "--clips", type=count, metavar="N", help="cut so many short clips; take them to a manifest"
    )
    parser.add_argument(
        "--against", metavar="CHECKOUT", help="of --clips: folder of another checkout"
    )
    parser.add_argument(
        "--rounds", type=count, default=1, help="of --clips; the least of each counts (default: 1)"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures")


def run(args: argparse.Namespace) -> str:
    """Measure, print the table; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.core.io import write_json
    from opensora.core.log import say

    if bool(args.videos) == (args.long_video is not None):
        raise ConfigError("give either folders of videos or --long-video SECONDS")
    if args.long_video is not None and args.long_video < 1:
        raise ConfigError("--long-video: expected at least 1")
    if args.clips is None and (args.against is not None or args.rounds != 1):
        raise ConfigError("--against and --rounds: give --clips N too, which they belong to")
    if args.clips is not None and not args.videos:
        raise ConfigError("--clips: expected folders of videos to cut them from")
    found, table, summary = _stages(args) if args.clips is None else _short_clips(args)
    if args.json:
        write_json(args.json, found)
    say(table)
    return summary


def _stages(args: argparse.Namespace) -> tuple[dict[str, Any], str, str]:
    """Figures of all stages, their table, one line."""
    from opensora.bench.curation import (
        bench_curation,
        bench_long_video,
        curation_summary,
        curation_table,
    )

    if args.videos:
        found = bench_curation(args.videos, workers=args.workers)
    else:
        found = bench_long_video(args.long_video, workers=args.workers)
    return found, curation_table(found), curation_summary(found)


def _short_clips(args: argparse.Namespace) -> tuple[dict[str, Any], str, str]:
    """Figures of clips to manifest, their table, one line."""
    from opensora.bench.checkout import find_checkout
    from opensora.bench.data.short_clips import (
        bench_short_clips,
        short_clips_summary,
        short_clips_table,
    )

    found = bench_short_clips(
        args.videos,
        clips=args.clips,
        against=None if args.against is None else find_checkout(args.against),
        workers=args.workers,
        rounds=args.rounds,
    )
    return found, short_clips_table(found), short_clips_summary(found)
