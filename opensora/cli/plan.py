"""`opensora plan`: what a stage will cost, or a workflow do; which buckets suit the data."""

import argparse
from typing import Any

from opensora.core.arguments import count, positive, share

HELP = (
    "Forecast tokens, operations, GPU memory, disk and GPU-hours of a training stage, bucket by"
    " bucket, and what a budget of GPUs and hours buys. Any field of the config can be given as"
    " --field VALUE. With --explain: which jobs of a workflow would run, why, and for how long."
    " With --sources: which share of an epoch each source of a workflow has, before it is run."
    " With --propose-buckets: a bucket_config that suits a manifest, beside that of the config."
)
EXAMPLE = (
    "opensora plan configs/opensora-v1-1/train/stage1.py --data-path mine/manifest.csv --gpus 8"
    " --hours 24 --gpu h100 --output mine/forecast.json --plot mine/forecast.svg"
)
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "config",
        nargs="?",
        help="training config (.py) with buckets, epochs, model; for --explain and --sources a"
        " workflow's .yaml",
    )
    _add_proposal(parser)
    parser.add_argument(
        "--explain",
        action="store_true",
        help="say what a run of the workflow would do now; run this in its folder",
    )
    parser.add_argument(
        "--sources",
        action="store_true",
        help="the share of an epoch that each source of the workflow has: by its weight, or by its"
        " clips, repeat and max_share; run this in its folder",
    )
    parser.add_argument(
        "--target", metavar="NAME", help="with --explain: train_all or a file (default: all)"
    )
    parser.add_argument("--data-path", metavar="FILE", help="manifest, for a forecast")
    parser.add_argument("--gpus", type=count, default=8, metavar="N", help="GPUs (default: 8)")
    parser.add_argument(
        "--hours", type=positive, default=24.0, metavar="H", help="hours they may run (default: 24)"
    )
    parser.add_argument("--gpu", default="h100", help="kind, whose peak is known (default: h100)")
    parser.add_argument(
        "--peak-tflops",
        type=positive,
        metavar="P",
        help="dense bf16 TFLOP/s of another kind of GPU",
    )
    parser.add_argument(
        "--mfu", type=share, metavar="M", help="share of the peak that is used (default: 0.4)"
    )
    parser.add_argument(
        "--measured",
        metavar="FILE",
        help="metrics.jsonl of a run on --gpus GPUs of this kind, to take the share from",
    )
    _add_stored(parser)
    parser.add_argument("--output", metavar="FILE", help="all figures (.json)")
    parser.add_argument("--plot", metavar="FILE", help="one epoch as bars (.svg)")


def _add_stored(parser: argparse.ArgumentParser) -> None:
    """Declare what is stored of clips and captions."""
    parser.add_argument(
        "--dtype", choices=("bf16", "fp32"), default="bf16", help="stored type (default: bf16)"
    )
    parser.add_argument(
        "--windows",
        type=count,
        default=1,
        metavar="N",
        help="windows stored of a clip (default: 1)",
    )
    parser.add_argument("--moments", action="store_true", help="latents stored as moments")
    parser.add_argument("--int8", action="store_true", help="embeddings stored as int8 rows")
    parser.add_argument(
        "--text-tokens", type=positive, metavar="L", help="mean tokens of a caption, if known"
    )
    parser.add_argument(
        "--vae-stride",
        type=count,
        nargs=3,
        metavar=("T", "H", "W"),
        help="pixels of one latent value (default: as the config's vae says, or 1 8 8)",
    )


def _add_proposal(parser: argparse.ArgumentParser) -> None:
    """Declare the options of --propose-buckets."""
    parser.add_argument(
        "--propose-buckets",
        metavar="FILE",
        help="manifest, or any table of clips with num_frames, height and width; the config's"
        " buckets are compared with, and give the tokens a sample that may not be exceeded",
    )
    parser.add_argument(
        "--gpu-memory",
        type=positive,
        metavar="GB",
        help="memory of one GPU (default: that of --gpu)",
    )
    parser.add_argument(
        "--num-frames",
        metavar="N,N",
        help="with --propose-buckets: lengths of buckets (default: 16,64)",
    )


def run(args: argparse.Namespace) -> str:
    """Forecast or explain, print, write; returns the summary line."""
    from opensora.core.errors import ConfigError, missing

    if args.propose_buckets:
        if args.explain or args.data_path or args.output:
            raise ConfigError("--propose-buckets takes --gpu-memory, --num-frames and --plot only")
        return _propose(args)
    if args.num_frames:
        raise ConfigError("--num-frames belongs to --propose-buckets; buckets say it otherwise")
    if not args.config:
        raise missing(
            "a forecast, --explain and --sources need a config; give its file first",
            args.overrides,
        )
    if args.sources:
        if args.explain or args.data_path or args.output or args.plot or args.overrides:
            raise ConfigError("--sources takes the workflow config, nothing else")
        return _sources(args.config)
    if args.explain:
        if args.data_path or args.output or args.plot or args.overrides:
            raise ConfigError("--explain takes the workflow config and --target, nothing else")
        return _explain(args)
    if args.target:
        raise ConfigError("--target belongs to --explain")
    if not args.data_path:
        raise missing(
            "a forecast needs --data-path MANIFEST; a workflow config, --explain", args.overrides
        )
    return _forecast(args)


def _explain(args: argparse.Namespace) -> str:
    """Print what would run; returns the summary line."""
    from opensora.core.log import say
    from opensora.dag.dry_run import dry_run
    from opensora.dag.explain import explain_jobs, explanation_summary, explanation_table

    found = explain_jobs(dry_run(args.config, target=args.target or "all"))
    say(explanation_table(found))
    return explanation_summary(found)


def _sources(path: str) -> str:
    """Print the share of each source; returns the summary line."""
    from pathlib import Path

    from opensora.config.sources import given_rates
    from opensora.core.errors import ConfigError
    from opensora.core.log import say
    from opensora.curation.survey.sources import FILES, counts_of
    from opensora.dag.cluster.plan import read_run
    from opensora.plans.shares import shares_of_sources, shares_table

    config = read_run(path)
    if not config["sources"]:
        raise ConfigError(f"{path}: has no `sources`, so every clip counts alike")
    rates = given_rates(config["sources"])
    counts, unit = counts_of(config, Path("results") / config["run"])
    say(shares_table(counts, rates, unit))
    shares = [share for share, _ in shares_of_sources(counts, rates).values()]
    if None in shares:
        words = "the files of a source are not known, so shares are not either; weights would say"
    elif unit == FILES and not any("weight" in given for given in rates.values()):
        words = "by files: once clips are cut, shares follow their numbers; weights would hold now"
    else:
        words = "each epoch holds them to within one clip"
    return f"{len(counts)} sources: {words}"


def _propose(args: argparse.Namespace) -> str:
    """Propose, print, draw; returns the summary line."""
    from opensora.buckets.bucket_config import parse_bucket_config
    from opensora.config.latent_grid import config_grid
    from opensora.config.load import load_config
    from opensora.core.errors import ConfigError
    from opensora.core.io import write_text
    from opensora.core.log import say
    from opensora.plans.bars import check_plot_path
    from opensora.plans.budget.cost import model_cost
    from opensora.plans.budget.machine import gpu_memory
    from opensora.plans.budget.memory import Setup, token_budget
    from opensora.plans.budget.propose import Wishes, measure, propose_buckets, snippet
    from opensora.plans.figures import plot_proposal, proposal_table
    from opensora.plans.stage_plan import (
        bucket_config_of,
        frame_interval_of,
        token_grid,
        training_clips,
    )
    from opensora.tables.manifest import read_manifest
    from opensora.training.config import KNOWN_FIELDS

    check_plot_path(args.plot)
    words = (args.num_frames or "16,64").split(",")
    if not all(word.strip().isdigit() and int(word) for word in words):
        raise ConfigError(f"--num-frames {args.num_frames}: expected numbers such as 16,64")
    config = {"model": {"type": "STDiT2-XL/2"}}
    if args.config:
        config = load_config(args.config, args.overrides, known=KNOWN_FIELDS).to_dict()
    clips = training_clips(read_manifest(args.propose_buckets, needs_text=False))
    latents = config_grid(config, args.vae_stride)
    grid = token_grid(config, latents.stride, latents.chunk)
    interval = frame_interval_of(config)
    measured, limit, smallest = {}, None, None
    if args.config:
        before = bucket_config_of(config)
        smallest = parse_bucket_config(before)[-1].resolution
        measured["before"] = measure(clips, before, grid, interval)
        limit = measured["before"].tokens or None
    memory = args.gpu_memory or gpu_memory(args.gpu)
    cost = model_cost(config)
    setup = Setup.of(config, gpus=args.gpus, frozen=cost.frozen)
    budget = token_budget(cost, memory, setup)
    lengths = [int(word) for word in words]
    wishes = Wishes(lengths, budget, grid, interval, tokens=limit, smallest=smallest)
    proposed = propose_buckets(clips, wishes)
    measured["proposed"] = found = measure(clips, proposed, grid, interval)
    if args.plot:
        write_text(args.plot, plot_proposal(measured))
    say(f"{proposal_table(measured)}{snippet(proposed)}\n")
    was = f" (before: {100 * measured['before'].kept:.1f} %)" if args.config else ""
    return (
        f"{100 * found.kept:.1f} % of {len(clips)} clips kept{was}, {found.tokens:,.0f} tokens a"
        f" sample, {budget:,} tokens fit a GPU"
    )


def _forecast(args: argparse.Namespace) -> str:
    """Forecast, print, write; returns the summary line."""
    from pathlib import Path

    from opensora.buckets.bucket import TokenGrid
    from opensora.config.latent_grid import config_grid
    from opensora.config.load import load_config
    from opensora.core.errors import ConfigError
    from opensora.core.io import write_json, write_text
    from opensora.core.log import say
    from opensora.plans.bars import check_plot_path
    from opensora.plans.budget.cost import model_cost
    from opensora.plans.budget.forecast import forecast, measured_mfu
    from opensora.plans.budget.machine import Machine, gpu_memory, gpu_peak
    from opensora.plans.figures import forecast_table, plot_forecast
    from opensora.tables.manifest import read_manifest
    from opensora.training.config import KNOWN_FIELDS

    check_plot_path(args.plot)
    if args.mfu is not None and args.measured is not None:
        raise ConfigError("--mfu and --measured are both given; keep one")
    config = load_config(args.config, args.overrides, known=KNOWN_FIELDS).to_dict()
    latents = config_grid(config, args.vae_stride)
    peak = gpu_peak(args.gpu) if args.peak_tflops is None else args.peak_tflops
    mfu = args.mfu or 0.4
    if args.measured is not None:
        cost = model_cost(config)
        mfu = measured_mfu(
            Path(args.measured),
            cost,
            TokenGrid(latents.stride, cost.patch_size, latents.chunk),
            grad_checkpoint=bool(config.get("grad_checkpoint")),
            gpus=args.gpus,
            peak_tflops=peak,
        )
    machine = Machine(
        gpus=args.gpus,
        hours=args.hours,
        peak_tflops=peak,
        mfu=mfu,
        memory=args.gpu_memory or gpu_memory(args.gpu),
    )
    found = forecast(
        read_manifest(args.data_path),
        config,
        vae_stride=latents.stride,
        frame_chunk=latents.chunk,
        storage=_storage(args),
        machine=machine,
    )
    if args.output:
        write_json(args.output, found)
    if args.plot:
        write_text(args.plot, plot_forecast(found))
    say(forecast_table(found))
    budget = found["budget"]
    return (
        f"{budget['needed_epochs']:.6g} epochs need {budget['needed_gpu_hours']:.3g} GPU-hours;"
        f" {args.gpus} GPUs for {args.hours:g} h make {budget['epochs']:.3g} epochs"
    )


def _storage(args: argparse.Namespace) -> Any:
    """How latents and embeddings are to be stored."""
    from dataclasses import fields

    from opensora.plans.budget.disk import Storage

    return Storage(**{field.name: getattr(args, field.name) for field in fields(Storage)})
