"""`opensora caption-clips`."""

import argparse

HELP = "Give each clip its caption; a clip without one is marked no_caption."
EXAMPLE = (
    "opensora caption-clips --clips clips/0000.csv --output captions/0000.csv --captioner sidecar"
    " --sidecar data/captions.csv"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--clips", required=True, help="table that split-clips made")
    parser.add_argument("--output", required=True, help="table of captions")
    parser.add_argument("--captioner", required=True, help="sidecar, or template (folder names)")
    parser.add_argument(
        "--sidecar",
        nargs="+",
        metavar="PATH",
        help="tables with path,start,end,text; without: SOURCE.txt or SOURCE.json beside a source",
    )


def run(args: argparse.Namespace) -> str:
    """Caption; returns the summary line."""
    from opensora.core.registry import CAPTIONERS, build_module
    from opensora.curation.captioning import caption_clips
    from opensora.tables.columns import CAPTIONS, CLIPS
    from opensora.tables.io import read_table, write_table

    config = {"type": args.captioner}
    if args.sidecar:
        config["paths"] = args.sidecar
    captioner = build_module(config, CAPTIONERS)
    captions = caption_clips(read_table(args.clips, CLIPS), captioner)
    write_table(captions, args.output, CAPTIONS)
    good = int((captions["status"] == "ok").sum())
    return f"{good} of {len(captions)} clips have a caption -> {args.output}"
