"""`opensora encode-videos`: fill one shard of the latent store."""

import argparse

HELP = "Encode the clips of a plan with a VAE, one shard; finished files are kept on a second run."
EXAMPLE = (
    "opensora encode-videos --manifest mine/manifest.csv --plan mine/plan.parquet --shard 0"
    " --num-shards 8 --vae mine/models/vae --output mine/latents/stage1/0000"
)
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--manifest", required=True, metavar="FILE", help="clips and their paths")
    parser.add_argument("--plan", required=True, metavar="FILE", help="plan of assign-buckets")
    parser.add_argument(
        "--validation", metavar="FILE", help="plan of held-out clips, encoded with the others"
    )
    parser.add_argument("--shard", type=int, default=0, metavar="K", help="index of the shard")
    parser.add_argument("--num-shards", type=int, default=1, metavar="N", help="shards in all")
    parser.add_argument("--vae", required=True, metavar="FOLDER", help="folder or hub name")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the shard")
    parser.add_argument(
        "--dtype", choices=("bf16", "fp32"), default="bf16", help="stored type (default: bf16)"
    )
    parser.add_argument(
        "--posterior",
        choices=("sample", "mean", "moments"),
        default="sample",
        help="a draw from the posterior, its centre, or centre and deviation, from which training"
        " draws in every epoch anew and which take twice the disk (default: sample)",
    )
    parser.add_argument("--seed", type=int, default=42, help="base of the draws (default: 42)")
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="frames per forward (default: 16)"
    )
    parser.add_argument(
        "--min-psnr",
        type=float,
        default=15.0,
        metavar="DB",
        help="stop if decoded latents of a bucket are worse than this (default: 15)",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:1; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Encode; returns the summary line."""
    from pathlib import Path

    from opensora.core.errors import ConfigError
    from opensora.models.build import load_autoencoder
    from opensora.models.device import choose_device
    from opensora.plans.compile import BatchPlan
    from opensora.precompute.encode_videos import VideoEncoding, encode_videos
    from opensora.stores.files import check_shard
    from opensora.tables.manifest import read_manifest

    check_shard(args.shard, args.num_shards)
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size {args.batch_size}: expected at least 1 frame per forward")
    encoding = VideoEncoding(
        dtype=args.dtype,
        posterior=args.posterior,
        seed=args.seed,
        batch_size=args.batch_size,
        min_psnr=args.min_psnr,
        device=choose_device(args.device),
    )
    manifest, plan = read_manifest(args.manifest), BatchPlan(args.plan)
    validation = None if args.validation is None else BatchPlan(args.validation)
    vae = load_autoencoder(args.vae, encoding.device, encoding.compute_dtype)
    shards = {"shard": args.shard, "num_shards": args.num_shards}
    counts = encode_videos(
        manifest, plan, vae, Path(args.output), encoding, validation=validation, **shards
    )
    return (
        f"{counts['clips']} clips in {counts['files']} files ({counts['kept']} kept)"
        f" -> {args.output}"
    )
