"""`opensora score-clips`."""

import argparse
from typing import Any

from opensora.core.arguments import table_file

HELP = "Score clips; each is decoded once for all scorers of a run."
EXAMPLE = (
    "opensora score-clips --scorer technical flow --clips mine/clips/0000.csv"
    " --output 'mine/scores/{scorer}/0000.csv'"
)
NAME = "{scorer}"
NETWORKS = ("flow", "aesthetic", "match")  # scorers that compute on a device
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--scorer",
        nargs="+",
        required=True,
        metavar="NAME",
        help="technical, flow, camera, ocr, phash, aesthetic, match",
    )
    parser.add_argument("--clips", required=True, help="table that split-clips made")
    parser.add_argument(
        "--output",
        type=table_file,
        required=True,
        help="table of scores, .csv or .parquet; {scorer} in it stands for the name",
    )
    parser.add_argument("--captions", help="table that caption-clips made; match needs it")
    parser.add_argument("--clip", metavar="MODEL", help="folder of a CLIP model; match needs it")
    parser.add_argument(
        "--options", default="{}", metavar="JSON", help='as {"flow": {"raft": "raft_large.pth"}}'
    )
    parser.add_argument("--device", help="of scorers with a network: cpu or cuda (default: cpu)")
    parser.add_argument("--store", metavar="DIR", help="keep scores here and do not repeat them")


def run(args: argparse.Namespace) -> str:
    """Score; returns the summary line."""
    from pathlib import Path

    from opensora.config.registry import SCORERS, build_module
    from opensora.core.errors import ConfigError
    from opensora.curation.scores.score_clips import score_clips
    from opensora.tables.captions import first_captions
    from opensora.tables.columns import CAPTIONS, CLIPS, SCORES
    from opensora.tables.io import read_table, write_table

    if len(args.scorer) > 1 and NAME not in args.output:
        raise ConfigError(f"--output {args.output}: several scorers need {NAME} in the name")
    scorers = {
        name: build_module({"type": name, **options}, SCORERS)
        for name, options in _options(args).items()
    }
    captions = {}
    if args.captions:
        table = first_captions(read_table(args.captions, CAPTIONS))
        captions = dict(zip(table["id"], table["text"], strict=True))
    for name, scorer in scorers.items():
        if scorer.needs_text and not args.captions:
            raise ConfigError(f"score-clips: the scorer {name} needs --captions captions.csv")
    clips = read_table(args.clips, CLIPS)
    store = Path(args.store) if args.store else None
    scores = score_clips(clips, scorers, captions, store, part=Path(args.clips).stem)
    for name, table in scores.items():
        write_table(table, args.output.replace(NAME, name), SCORES)
    good = {name: int((table["status"] == "ok").sum()) for name, table in scores.items()}
    counts = ", ".join(f"{name} {count}" for name, count in good.items())
    return f"of {len(clips)} clips scored: {counts} -> {args.output}"


def _options(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The keywords of every scorer that is asked for."""
    import json

    from opensora.core.errors import ConfigError

    try:
        given = json.loads(args.options)
    except ValueError as error:
        raise ConfigError(f"--options: expected JSON, got {args.options!r} ({error})") from error
    if not isinstance(given, dict) or not all(isinstance(o, dict) for o in given.values()):
        raise ConfigError('--options: expected {"scorer": {"option": value}}')
    unused = sorted(set(given) - set(args.scorer))
    if unused:
        raise ConfigError(f"--options: {unused[0]} is not among the scorers that run")
    options = {name: dict(given.get(name, {})) for name in args.scorer}
    for name in ("match", "aesthetic"):
        if name in options and args.clip:
            options[name].setdefault("clip", args.clip)
    if args.device:
        from opensora.models.device import choose_device  # loads torch, which takes seconds

        for name in filter(options.__contains__, NETWORKS):
            options[name].setdefault("device", choose_device(args.device))
    if "match" in options and "clip" not in options["match"]:
        raise ConfigError("score-clips: the scorer match needs --clip MODEL, a CLIP model's folder")
    return options
