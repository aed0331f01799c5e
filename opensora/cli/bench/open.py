"""`opensora bench open`: the trainer beside a plain loop of diffusers."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Time steps of the trainer on a Wan transformer and those of a plain loop of diffusers, in turn"
    " on the CPU, on batches in memory. Some minutes."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--sizes", metavar="NAMES", help="with commas between: tiny, 0.1b (default: both)"
    )
    parser.add_argument(
        "--dtypes",
        metavar="NAMES",
        default="bf16,fp32",
        help="of both sides; bf16 is left out on a processor slow at it (default: bf16,fp32)",
    )
    parser.add_argument(
        "--steps", type=count, default=2, metavar="N", help="of a turn, 10 N at tiny (default: 2)"
    )
    parser.add_argument(
        "--turns", type=count, default=5, metavar="N", help="of each side (default: 5)"
    )
    parser.add_argument(
        "--online", action="store_true", help="their side encodes video and text in each step"
    )
    parser.add_argument(
        "--full-captions", action="store_true", help="captions without padding, which we leave out"
    )
    parser.add_argument("--fused", action="store_true", help="their AdamW is fused as ours is")
    parser.add_argument("--compile", action="store_true", help="compile our blocks")
    parser.add_argument("--json", metavar="FILE", help="the figures")


def run(args: argparse.Namespace) -> str:
    """Measure, print a table, write; returns the summary line."""
    from dataclasses import asdict, replace

    from opensora.acceleration.workers import worker_group
    from opensora.bench.measure import machine
    from opensora.bench.open_models.cases import choose_cases
    from opensora.bench.open_models.measure import Setup, measure_open, open_summary, open_table
    from opensora.core.errors import ConfigError
    from opensora.core.io import write_json
    from opensora.core.log import say

    dtypes = args.dtypes.split(",")
    for name in dtypes:
        if name not in ("bf16", "fp32"):
            raise ConfigError(f"--dtypes {name}: expected some of bf16, fp32")
    cases = choose_cases(args.sizes)
    if args.full_captions:
        cases = [replace(case, longest=case.length) for case in cases]
    with worker_group() as workers:
        setup = Setup(workers, args.steps, args.turns, args.compile, args.online, args.fused)
        rows = measure_open(cases, dtypes, setup)
    say(f"{machine()}\n\n{open_table(rows)}\n")
    if args.json:
        write_json(args.json, {"machine": machine(), "rows": [asdict(row) for row in rows]})
    return open_summary(rows)
