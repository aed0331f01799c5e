"""`opensora score-clips`."""

import argparse

HELP = "Score clips with one scorer: technical, flow or match."
EXAMPLE = "opensora score-clips --scorer flow --clips clips/0000.csv --output scores/flow/0000.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--scorer", required=True, help="technical, flow or match")
    parser.add_argument("--clips", required=True, help="table that split-clips made")
    parser.add_argument("--output", required=True, help="table of scores")
    parser.add_argument("--captions", help="table that caption-clips made; match needs it")
    parser.add_argument("--clip", metavar="MODEL", help="folder of a CLIP model; match needs it")


def run(args: argparse.Namespace) -> str:
    """Score; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.core.registry import SCORERS, build_module
    from opensora.scorers.runner import score_clips
    from opensora.tables.columns import CAPTIONS, CLIPS, SCORES
    from opensora.tables.io import read_table, write_table

    config = {"type": args.scorer}
    if args.clip:
        config["clip"] = args.clip
    elif args.scorer == "match":
        raise ConfigError("score-clips: the scorer match needs --clip MODEL, a CLIP model's folder")
    scorer = build_module(config, SCORERS)
    if scorer.needs_text and not args.captions:
        raise ConfigError(f"score-clips: the scorer {args.scorer} needs --captions captions.csv")
    captions = {}
    if args.captions:
        table = read_table(args.captions, CAPTIONS)
        captions = dict(zip(table["id"], table["text"], strict=True))
    scores = score_clips(read_table(args.clips, CLIPS), args.scorer, scorer, captions)
    write_table(scores, args.output, SCORES)
    good = int((scores["status"] == "ok").sum())
    return f"{good} of {len(scores)} clips scored by {args.scorer} -> {args.output}"
