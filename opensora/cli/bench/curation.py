"""`opensora bench curation`."""

import argparse

from opensora.core.arguments import count, positive

HELP = (
    "Time ingest, scenes, clips and scores (technical, flow) on your videos, against a plain decode"
    " and encode of the same frames; or see what memory they take on a long video."
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
    parser.add_argument("--json", metavar="FILE", help="write all figures")


def run(args: argparse.Namespace) -> str:
    """Measure, print the table; returns the summary line."""
    import sys

    from opensora.bench.curation import (
        bench_curation,
        bench_long_video,
        curation_summary,
        curation_table,
    )
    from opensora.core.errors import ConfigError
    from opensora.core.io import write_json

    if bool(args.videos) == (args.long_video is not None):
        raise ConfigError("give either folders of videos or --long-video SECONDS")
    if args.long_video is not None and args.long_video < 1:
        raise ConfigError("--long-video: expected at least 1")
    if args.videos:
        found = bench_curation(args.videos, workers=args.workers)
    else:
        found = bench_long_video(args.long_video, workers=args.workers)
    if args.json:
        write_json(args.json, found)
    sys.stdout.write(curation_table(found))
    return curation_summary(found)
