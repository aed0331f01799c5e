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
        "--text-encoder", required=True, metavar="FOLDER", help="folder or hub name"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the store")
    parser.add_argument(
        "--max-length", type=int, default=120, metavar="L", help="tokens a caption (default: 120)"
    )
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

    from opensora.config.registry import MODELS, build_module
    from opensora.core.errors import ConfigError
    from opensora.models.device import choose_device
    from opensora.precompute.encode_captions import encode_captions
    from opensora.stores.files import check_shard
    from opensora.tables.manifest import read_manifest

    check_shard(args.shard, args.num_shards)
    if args.max_length < 1:
        raise ConfigError(f"--max-length {args.max_length}: expected at least 1")
    device = choose_device(args.device)
    config = {
        "type": "t5",
        "from_pretrained": args.text_encoder,
        "model_max_length": args.max_length,
        "dtype": "fp32" if device == "cpu" else args.dtype,  # it computes in this type
        "device": device,
    }
    manifest = read_manifest(args.manifest)
    counts = encode_captions(
        manifest,
        build_module(config, MODELS),
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
