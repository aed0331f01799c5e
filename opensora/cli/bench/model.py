"""`opensora bench model`: speed and memory of the transformers."""

import argparse

from opensora.core.arguments import count

HELP = (
    "Time the forward pass and the training step of transformers, with operations per second,"
    " their share of the machine's peak, and memory."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--type",
        nargs="+",
        metavar="NAME",
        help="registered models (default: the XL/2 of every family)",
    )
    parser.add_argument("--num-frames", type=count, default=16, metavar="T", help="of a clip")
    parser.add_argument(
        "--image-size", type=count, nargs=2, default=(256, 256), metavar=("H", "W"), help="pixels"
    )
    parser.add_argument("--batch-size", type=count, default=1, metavar="B", help="clips at once")
    parser.add_argument(
        "--dtype", choices=("fp32", "bf16"), default="fp32", help="of weights and numbers"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: cuda where there is one"
    )
    parser.add_argument("--depth", type=count, metavar="N", help="blocks, instead of all")
    parser.add_argument(
        "--compile",
        nargs="?",
        const="yes",
        default="no",
        choices=("no", "yes", "both"),
        help="time the blocks compiled, or eager and compiled (takes a minute a model on a CPU)",
    )
    parser.add_argument("--grad-checkpoint", action="store_true", help="recompute the blocks")
    parser.add_argument(
        "--steps", type=count, default=5, metavar="N", help="timed runs (default: 5)"
    )
    parser.add_argument(
        "--compare", action="store_true", help="time diffusers' model of the same layout as well"
    )
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="NAME=VALUE", help="fields of the models"
    )
    parser.add_argument("--json", metavar="FILE", help="the figures")


def run(args: argparse.Namespace) -> str:
    """Measure, print a table, write; returns the summary line."""
    from dataclasses import asdict

    from opensora.bench.measure import machine
    from opensora.bench.model import (
        Mode,
        check_types,
        measure,
        peak_flops,
        timing_heading,
        timing_table,
    )
    from opensora.bench.model_subjects import Settings
    from opensora.config.load import parse_overrides
    from opensora.core.io import write_json
    from opensora.core.log import progress, say
    from opensora.models.device import choose_device

    device = choose_device(args.device)
    fields = dict(parse_overrides(["--cfg-options", *args.cfg_options]) if args.cfg_options else [])
    if args.depth is not None:
        fields["depth"] = args.depth
    settings = Settings(
        num_frames=args.num_frames,
        image_size=tuple(args.image_size),
        batch_size=args.batch_size,
        dtype=args.dtype,
        device=device,
        steps=args.steps,
        grad_checkpoint=args.grad_checkpoint,
        model=fields,
    )
    types = check_types(args.type, fields)
    modes: list[Mode] = ["eager"] if args.compile != "yes" else []
    if args.compile != "no":
        modes.append("compiled")
    peak, source = peak_flops(settings)
    rows = []
    for name in progress(types, description="bench model"):
        rows += measure(name, modes, settings, compare=args.compare)
        again, _ = peak_flops(settings)  # other work on the machine comes and goes
        peak = None if peak is None or again is None else max(peak, again)
    title = timing_heading(settings, machine(), peak, source)
    say(f"{title}\n\n{timing_table(rows, peak)}\n\n")
    if args.json:
        figures: dict[str, object] = {
            "machine": machine(),
            "settings": asdict(settings),
            "peak_flops": peak,
        }
        figures |= {"peak_source": source, "rows": [asdict(row) for row in rows]}
        write_json(args.json, figures)
    best = max(rows, key=lambda row: row.flops / row.seconds)
    return (
        f"{len(rows)} measurements of {len(types)} models; best: {best.type} {best.mode}"
        f" {best.task}, {best.flops / best.seconds / 1e9:,.0f} GFLOP/s"
    )
