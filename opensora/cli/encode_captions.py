"""`opensora encode-captions`: fill the embedding store."""

import argparse

HELP = "Encode each different caption of a manifest once; finished files are kept on a second run."
EXAMPLE = (
    "opensora encode-captions --manifest manifest.csv --text-encoder models/text_encoder"
    " --max-length 120 --output embeddings"
)


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
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Encode; returns the summary line."""
    from pathlib import Path

    import torch

    from opensora.core.errors import ConfigError
    from opensora.core.registry import MODELS, build_module
    from opensora.encoding.captions import encode_captions
    from opensora.tables.columns import MANIFEST
    from opensora.tables.io import read_table

    if args.max_length < 1:
        raise ConfigError(f"--max-length {args.max_length}: expected at least 1")
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    config = {
        "type": "t5",
        "from_pretrained": args.text_encoder,
        "model_max_length": args.max_length,
        "dtype": "fp32" if device == "cpu" else args.dtype,
        "device": device,
    }
    manifest = read_table(args.manifest, MANIFEST)
    counts = encode_captions(
        manifest, build_module(config, MODELS), Path(args.output), dtype=args.dtype
    )
    return (
        f"{counts['texts']} different captions of {counts['clips']} clips,"
        f" {counts['tokens']} tokens -> {args.output}"
    )
