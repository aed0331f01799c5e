"""`opensora bench train`: whole training steps, by case."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Time whole steps of training (optimizer, average, metrics included) on batches in memory:"
    " tokens a second, share of the peak, memory, and what the time goes into. Four minutes on a"
    " GPU. --against CHECKOUT times another checkout in turn."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--cases",
        metavar="NAMES",
        help="with commas between; on a GPU reference, reference-512, fb84f53, all, all-512, zero2;"
        " on a CPU reference, reference-fp32, fp32, default (default: all of them)",
    )
    parser.add_argument(
        "--cpu", action="store_true", help="the small table, where there is a GPU as well"
    )
    parser.add_argument(
        "--steps", type=count, default=3, metavar="N", help="in each repeat (default: 3)"
    )
    parser.add_argument(
        "--repeats", type=count, default=3, metavar="N", help="timed stretches (default: 3)"
    )
    parser.add_argument("--no-compile", action="store_true", help="blocks stay eager")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="NAME=VALUE", help="fields of the model"
    )
    parser.add_argument(
        "--against", metavar="CHECKOUT", help="folder of another checkout, timed in turn with this"
    )
    parser.add_argument(
        "--turns", type=count, default=2, metavar="N", help="of --against (default: 2)"
    )
    parser.add_argument("--json", metavar="FILE", help="the figures")


def run(args: argparse.Namespace) -> str:
    """Measure, print a table, write; returns the summary line."""
    from dataclasses import asdict

    import torch

    from opensora.acceleration.workers import worker_group
    from opensora.bench.measure import machine
    from opensora.bench.train.against import take_turns
    from opensora.bench.train.cases import CPU_CASES, GPU_CASES, choose_cases
    from opensora.bench.train.measure import Setup, measure_train, peak_of
    from opensora.bench.train.table import against_table, train_summary, train_table
    from opensora.config.load import parse_overrides
    from opensora.core.io import write_json
    from opensora.core.log import say

    on_gpu = torch.cuda.is_available() and not args.cpu
    cases = choose_cases(args.cases, GPU_CASES if on_gpu else CPU_CASES)
    if args.against:
        mine, theirs = take_turns(args, [case.name for case in cases])
        say(f"{machine()}\n\n{against_table(mine, theirs)}\n\n")
        if args.json:
            write_json(args.json, {"machine": machine(), "here": mine, "there": theirs})
        return f"{len(mine)} cases in {args.turns} turns here and in {args.against}"
    words = args.cfg_options
    fields = dict(parse_overrides(["--cfg-options", *words]) if words else [])
    with worker_group(gpus=int(on_gpu), some=True) as workers:
        setup = Setup(
            workers=workers,
            steps=args.steps,
            repeats=args.repeats,
            compiled=on_gpu and not args.no_compile,
            fields=tuple(fields.items()),
        )
        peak, origin = peak_of(cases, setup)
        rows = measure_train(cases, setup)
        again, _ = peak_of(cases, setup)  # other work on the machine comes and goes
    if peak is not None and again is not None:
        peak = max(peak, again)
    title = f"{machine()}, medians of {args.repeats} x {args.steps} steps, peak: {origin}"
    say(f"{title}\n\n{train_table(rows, peak)}\n\n")
    if args.json:
        figures = {"machine": machine(), "peak_flops": peak, "peak_source": origin}
        write_json(args.json, {**figures, "rows": [asdict(row) for row in rows]})
    return train_summary(rows)
