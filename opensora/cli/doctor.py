"""`opensora doctor`: examine latents or embeddings that exist."""

import argparse

HELP = (
    "Examine what indexes name: every checksum, NaN, mean and deviation, and with the encoders what"
    " a few clips and captions become when they are decoded or encoded again. Changes nothing."
)
EXAMPLE = (
    "opensora doctor --latents results/demo/latents/stage1 --embeddings results/demo/embeddings"
    " --manifest results/demo/manifest --vae results/demo/models/vae"
    " --text-encoder results/demo/models/text_encoder"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--latents", nargs="+", default=[], metavar="DIR", help="folders of indexes, or an index"
    )
    parser.add_argument("--embeddings", metavar="DIR", help="folder of indexes, or an index")
    parser.add_argument("--manifest", metavar="FILE", help="clips, their paths and captions")
    parser.add_argument(
        "--vae", metavar="FOLDER", help="folder or hub name; decodes a few clips of each bucket"
    )
    parser.add_argument(
        "--text-encoder",
        metavar="FOLDER",
        help="folder or hub name; encodes a few captions again",
    )
    parser.add_argument(
        "--min-psnr",
        type=float,
        default=15.0,
        metavar="DB",
        help="a bucket whose decoded latents are worse than this is bad (default: 15)",
    )
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Examine; returns the summary line."""
    from pathlib import Path

    from opensora.core.errors import ConfigError
    from opensora.models.device import choose_device
    from opensora.precompute.examine import examine_embeddings, examine_latents
    from opensora.tables.manifest import read_manifest

    if not args.latents and args.embeddings is None:
        raise ConfigError("nothing to examine; give --latents DIR, --embeddings DIR or both")
    if args.vae is not None and args.manifest is None:
        raise ConfigError("--vae compares decoded clips with their files; give --manifest FILE too")
    if args.vae is not None and not args.latents:
        raise ConfigError("--vae decodes latents; give --latents DIR too")
    if args.text_encoder is not None and args.embeddings is None:
        raise ConfigError("--text-encoder encodes captions again; give --embeddings DIR too")
    if args.text_encoder is not None and args.manifest is None:
        raise ConfigError("--text-encoder needs to know the captions; give --manifest FILE too")
    device = choose_device(args.device)
    manifest = None if args.manifest is None else read_manifest(args.manifest)
    found = []
    if args.latents:
        roots = [Path(root) for root in args.latents]
        settings = {"min_psnr": args.min_psnr, "device": device}
        found.append(examine_latents(roots, vae=args.vae, manifest=manifest, **settings))
    if args.embeddings is not None:
        root, encoder = Path(args.embeddings), args.text_encoder
        found.append(
            examine_embeddings(root, text_encoder=encoder, manifest=manifest, device=device)
        )
    return "; ".join(found)
