"""`opensora caption-clips`."""

import argparse
from typing import Any

from opensora.core.arguments import count, table_file

HELP = "Give each clip its caption; a clip without one is marked no_caption."
EXAMPLE = (
    "opensora caption-clips --clips mine/clips/0000.csv --output mine/captions/0000.csv"
    " --captioner sidecar --sidecar mine/captions.csv"
)
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--clips", required=True, help="table that split-clips made")
    parser.add_argument(
        "--output", type=table_file, required=True, help="table of captions, .csv or .parquet"
    )
    parser.add_argument(
        "--captioner", required=True, help="sidecar, template, transformers or openai"
    )
    parser.add_argument(
        "--sidecar",
        nargs="+",
        metavar="PATH",
        help="tables with path,start,end,text; without: SOURCE.txt or SOURCE.json beside a source",
    )
    parser.add_argument(
        "--model",
        help="captioning model: folder or hub name for transformers, its name at the server for"
        " openai",
    )
    parser.add_argument("--prompt", help="what the model is asked")
    parser.add_argument("--num-frames", type=count, help="frames it sees of each clip (default: 4)")
    parser.add_argument("--batch-size", type=count, help="clips it sees at once (default: 4)")
    parser.add_argument("--device", help="of transformers: cpu or cuda; cuda where there is one")
    parser.add_argument(
        "--endpoint",
        metavar="JSON",
        help='server of openai: {"url": "http://localhost:8000/v1"}; more: key_env (the name of the'
        " environment variable with the key), concurrency, timeout_s, max_side, request, prices",
    )
    parser.add_argument(
        "--store", metavar="DIR", help="keep replies of openai here and do not ask again"
    )
    parser.add_argument(
        "--languages", nargs="+", default=[], metavar="CODE", help="languages to keep, as en de"
    )
    parser.add_argument(
        "--per-clip",
        type=count,
        default=1,
        metavar="N",
        help="most captions of a clip, of sidecar: rows of one span, lines of SOURCE.txt",
    )


def run(args: argparse.Namespace) -> str:
    """Caption; returns the summary line."""
    from opensora.config.registry import CAPTIONERS, build_module
    from opensora.core.errors import ConfigError
    from opensora.curation.captions.caption_clips import caption_clips
    from opensora.tables.captions import first_captions
    from opensora.tables.columns import CAPTIONS, CLIPS
    from opensora.tables.io import read_table, write_table

    options = {
        "paths": args.sidecar,
        "model": args.model,
        "prompt": args.prompt,
        "num_frames": args.num_frames,
        "batch_size": args.batch_size,
        "device": args.device,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if args.captioner in ("transformers", "openai") and not args.model:
        raise ConfigError(f"caption-clips: the captioner {args.captioner} needs --model NAME")
    if args.captioner == "openai":
        given |= _of_server(args)
    captioner = build_module({"type": args.captioner, **given}, CAPTIONERS)
    clips = read_table(args.clips, CLIPS)
    captions = caption_clips(clips, captioner, languages=args.languages, per_clip=args.per_clip)
    write_table(captions, args.output, CAPTIONS)
    is_good = captions["status"] == "ok"
    good, firsts = int(is_good.sum()), first_captions(captions)
    clips_with = int((firsts["status"] == "ok").sum())
    found = f"{clips_with} of {len(firsts)} clips have a caption"
    if args.per_clip > 1:
        others = int((~is_good).sum()) - (len(firsts) - clips_with)
        found += f", {good} captions in all, {others} refused beside good ones"
    remarks = "".join(f"; {remark}" for remark in captioner.remarks())
    return f"{found}{remarks} -> {args.output}"


def _of_server(args: argparse.Namespace) -> dict[str, Any]:
    """What the captioner openai takes alone."""
    from pathlib import Path

    from opensora.config.endpoint import parse_endpoint

    store = Path(args.store) if args.store else None
    endpoint = parse_endpoint(args.endpoint)
    return {"endpoint": endpoint, "store": store, "part": Path(args.clips).stem}
