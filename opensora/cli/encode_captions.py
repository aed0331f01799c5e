"""`opensora encode-captions`: fill the embedding store."""

import argparse

HELP = "Encode each different caption of a manifest once; finished files are kept on a second run."
EXAMPLE = (
    "opensora encode-captions --manifest mine/manifest.csv --text-encoder mine/models/text_encoder"
    " --max-length 120 --output mine/embeddings"
)
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--manifest", required=True, metavar="FILE", help="clips and their captions"
    )
    parser.add_argument(
        "--type",
        choices=("t5", "clip", "classes"),
        default="t5",
        help="t5: a vector a token; clip: one a caption; classes: captions are numbers of classes"
        " (default: t5)",
    )
    parser.add_argument(
        "--text-encoder", metavar="FOLDER", help="folder or hub name, of t5 and clip"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the store")
    parser.add_argument(
        "--max-length", type=int, metavar="L", help="tokens a caption (default: t5 120, clip 77)"
    )
    parser.add_argument("--num-classes", type=int, metavar="N", help="of classes: 0 to N - 1")
    parser.add_argument(
        "--dtype", choices=("bf16", "fp32"), default="bf16", help="stored type (default: bf16)"
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="store whole numbers with a scale per token: half the disk of bf16, error reported",
    )
    parser.add_argument("--shard", type=int, default=0, metavar="K", help="index of the shard")
    parser.add_argument("--num-shards", type=int, default=1, metavar="N", help="shards in all")
    parser.add_argument("--device", help="cpu, cuda or cuda:1; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Encode; returns the summary line."""
    from pathlib import Path

    from opensora.models.device import choose_device
    from opensora.precompute.encode_captions import encode_captions
    from opensora.precompute.texts import build_text_encoder
    from opensora.stores.files import check_shard
    from opensora.tables.manifest import read_manifest

    check_shard(args.shard, args.num_shards)
    text_encoder = build_text_encoder(
        args.type,
        from_pretrained=args.text_encoder,
        max_length=args.max_length,
        num_classes=args.num_classes,
        dtype=args.dtype,
        device=choose_device(args.device),
    )
    counts = encode_captions(
        read_manifest(args.manifest),
        text_encoder,
        Path(args.output),
        dtype=args.dtype,
        int8=args.int8,
        shard=args.shard,
        num_shards=args.num_shards,
    )
    error = ""
    if counts["int8_error"]:
        rms, worst = (counts["int8_error"][name] for name in ("relative_rms", "worst_token"))
        error = f", int8 error {rms:.2%} (worst token {worst:.2%})"
    return (
        f"{counts['texts']} different captions of {counts['clips']} clips,"
        f" {counts['tokens']} tokens{error} -> {args.output}"
    )
