"""`opensora encode-captions`: find the embeddings of a shard in the store, or make them."""

import argparse

from opensora.config.text_types import LENGTHS_IN_WORDS, SECOND_PARTS, TEXT_PARTS, TEXT_TYPES
from opensora.core.arguments import count, whole

HELP = (
    "Find the embeddings of captions in a store that runs share, encode each different one that it"
    " lacks once, and write an index. A second run encodes nothing and loads no encoder; a stopped"
    " one goes on. A caption without an embedding is a row with its reason."
)
EXAMPLE = (
    "opensora encode-captions --manifest mine/manifest.csv --text-encoder mine/models/text_encoder"
    " --max-length 120 --store mine/store/embeddings --output mine/embeddings/0000.parquet"
)
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--manifest",
        nargs="+",
        required=True,
        metavar="TABLE",
        help="clips and their captions; of a folder its Parquet files",
    )
    parser.add_argument(
        "--captions",
        nargs="+",
        default=[],
        metavar="TABLE",
        help="tables of caption-clips --per-clip, for clips with several captions: all are encoded",
    )
    parser.add_argument(
        "--type",
        choices=TEXT_TYPES,
        default="t5",
        help="clip: one vector a caption; classes: captions are numbers of classes; the others: a"
        " vector a token, all but t5 as an open model reads (default: t5)",
    )
    parser.add_argument(
        "--text-encoder", metavar="FOLDER", help="folder or hub name, of all but classes"
    )
    parser.add_argument("--output", required=True, metavar="INDEX", help="index (.parquet)")
    parser.add_argument("--store", required=True, metavar="DIR", help="embeddings that runs share")
    parser.add_argument(
        "--max-length",
        type=count,
        metavar="L",
        help=f"tokens a caption (default: {LENGTHS_IN_WORDS})",
    )
    parser.add_argument("--num-classes", type=count, metavar="N", help="of classes: 0 to N - 1")
    parser.add_argument(
        "--dtype", choices=("bf16", "fp32"), default="bf16", help="stored type (default: bf16)"
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="store whole numbers with a scale per token: half the disk of bf16, error reported",
    )
    parser.add_argument(
        "--shard",
        type=whole,
        default=0,
        metavar="K",
        help="index of the shard: rows whose column `shard` says so, else by a hash of their ids",
    )
    parser.add_argument("--num-shards", type=count, default=1, metavar="N", help="shards in all")
    parser.add_argument("--device", help="cpu, cuda or cuda:1; cuda where there is one")


def _hash(args: argparse.Namespace) -> str:
    """Of the text encoder and its tokenizer; nothing of labels."""
    from opensora.models.weights.folders import encoder_sha256, resolve_folder

    name, kind = args.text_encoder, args.type
    if not name:
        return ""
    pairs = [TEXT_PARTS, *([SECOND_PARTS[kind]] if kind in SECOND_PARTS else [])]
    return " ".join(
        encoder_sha256(*(resolve_folder(name, kind=kind, part=part) for part in pair))
        for pair in pairs
    )


def run(args: argparse.Namespace) -> str:
    """Look up, encode; returns the summary line."""
    from pathlib import Path
    from typing import Any

    from opensora.core.text import counted
    from opensora.precompute.encode_captions import encode_captions, read_captions
    from opensora.precompute.text_encoding import TextEncoding, check_encoder_options
    from opensora.stores.index import remove_older
    from opensora.stores.keys import check_shard

    check_shard(args.shard, args.num_shards)
    given = {
        "from_pretrained": args.text_encoder,
        "max_length": args.max_length,
        "num_classes": args.num_classes,
    }
    check_encoder_options(args.type, **given)
    encoding = TextEncoding(
        kind=args.type,
        dtype=args.dtype,
        int8=args.int8,
        max_length=args.max_length,
        num_classes=args.num_classes,
    )

    def build() -> Any:
        from opensora.models.device import choose_device  # loads torch, which takes seconds
        from opensora.precompute.texts import build_text_encoder

        device = choose_device(args.device)
        return build_text_encoder(args.type, dtype=args.dtype, device=device, **given)

    manifest, tables = ([Path(path) for path in paths] for paths in (args.manifest, args.captions))
    counts = encode_captions(
        read_captions(manifest, args.shard, args.num_shards, tables),
        Path(args.output),
        Path(args.store),
        encoding,
        build,
        encoder=_hash(args),
        shard=args.shard,
        num_shards=args.num_shards,
    )
    remove_older(Path(args.output), args.num_shards)
    error = ""
    if counts["int8_error"]:
        rms, worst = (counts["int8_error"][name] for name in ("relative_rms", "worst_token"))
        error = f", int8 error {rms:.2%} (worst token {worst:.2%})"
    cut = (
        f", {counts['cut']['captions']} cut" if counts["cut"] and counts["cut"]["captions"] else ""
    )
    rejected = f", {counts['rejected']} not encoded" if counts["rejected"] else ""
    return (
        f"{counted(counts['texts'], 'different caption')} of {counted(counts['clips'], 'clip')}:"
        f" {counts['encoded']} encoded, {counts['found']} found{rejected}{cut},"
        f" {counts['tokens']} tokens{error} -> {args.output}"
    )
