"""`opensora bench buckets`: speed of the bucket assignment, balance or size of the plan."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Time the bucket assignment of a synthetic manifest against a loop over its rows; with"
    " --stragglers, compare how long ranks wait for the slowest in random and in balanced order;"
    " with --epochs, compile a plan of so many and say what it takes."
)
ROWS, STRAGGLER_ROWS = 10_000_000, 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--rows",
        type=count,
        metavar="N",
        help=f"clips (default: {ROWS:,}; {STRAGGLER_ROWS:,} with --stragglers)",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="training config (default: stage 2 of Open-Sora 1.1)"
    )
    parser.add_argument(
        "--sample",
        type=count,
        default=20_000,
        metavar="N",
        help="rows of the loop (default: 20000)",
    )
    parser.add_argument(
        "--repeats", type=count, default=5, metavar="N", help="timings, median counts (default: 5)"
    )
    parser.add_argument("--stragglers", action="store_true", help="simulate the ranks of a step")
    parser.add_argument(
        "--ranks", type=count, default=64, metavar="W", help="ranks of the simulation (default: 64)"
    )
    parser.add_argument("--epochs", type=count, metavar="N", help="compile a plan of so many")
    parser.add_argument("--output", metavar="FILE", help="the figures (.json)")


def run(args: argparse.Namespace) -> str:
    """Measure, print, write; returns the summary line."""
    from collections.abc import Mapping
    from typing import Any

    from opensora.bench.buckets import FRAME_INTERVAL, STAGE_2, synthetic_manifest
    from opensora.buckets.bucket_config import BucketConfig
    from opensora.config.load import load_config
    from opensora.core.io import write_json
    from opensora.core.log import say
    from opensora.plans.stage_plan import bucket_config_of, frame_interval_of

    default = STRAGGLER_ROWS if args.stragglers else ROWS
    rows = default if args.rows is None else args.rows
    config: BucketConfig = STAGE_2
    interval, model = FRAME_INTERVAL, {"type": "STDiT2-XL/2", "qk_norm": True}
    if args.config:
        fields = load_config(args.config).to_dict()
        config, interval = bucket_config_of(fields), frame_interval_of(fields)
        model = fields.get("model") or model
    clips = synthetic_manifest(rows)
    result: Mapping[str, Any]
    if args.stragglers:
        from opensora.bench import balance

        result = balance.simulate_stragglers(
            clips, config, model=model, ranks=args.ranks, frame_interval=interval
        )
        text = balance.balance_report(result)
        summary = (
            f"{args.ranks} ranks: slowest / mean {result['random']['slowest']:.3f} in random order,"
            f" {result['cost']['slowest']:.3f} balanced by cost"
        )
    elif args.epochs is not None:
        from opensora.bench import plan

        result = plan.bench_plan(clips, config, frame_interval=interval, epochs=args.epochs)
        text = plan.plan_report(dict(result))
        summary = (
            f"{result['clips']:,} clips of {args.epochs} epochs, {result['memory_bytes']:.1f} bytes"
            f" each, compiled in {result['seconds']['compile']:.1f} s"
        )
    else:
        from opensora.bench import buckets

        result = buckets.bench_buckets(
            clips, config, frame_interval=interval, sample=args.sample, repeats=args.repeats
        )
        text = buckets.buckets_report(dict(result))
        summary = (
            f"{result['rows_per_s'] / 1e6:.2f} million rows/s,"
            f" {result['memory_bytes'] / 1e9:.2f} GB, {result['ratio']:,.0f} times a loop over rows"
        )
    if args.output:
        write_json(args.output, result)
    say(text)
    return summary
