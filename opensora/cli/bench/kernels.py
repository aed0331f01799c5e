"""`opensora bench kernels`: attention and norms, each kernel against what it replaces."""

import argparse

HELP = (
    "Time the kernels of attention and norms at the shapes of the XL/2 models, forward and"
    " backward, each against torch, with bytes a second and the error. A minute on a GPU."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--cases",
        default="short_attention,attention,cross_attention,layer_norm",
        metavar="NAMES",
        help="which, with commas between (default: %(default)s)",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: cuda where there is one"
    )
    parser.add_argument("--json", metavar="FILE", help="the figures")


def run(args: argparse.Namespace) -> str:
    """Measure, print a table, write; returns the summary line."""
    from dataclasses import asdict

    import torch

    from opensora.bench.kernels import heading, kernel_summary, kernel_table, measure_kernels
    from opensora.bench.measure import machine
    from opensora.core.io import write_json
    from opensora.core.log import say
    from opensora.models.device import choose_device

    device = torch.device(choose_device(args.device))
    rows = measure_kernels(args.cases.split(","), device)
    say(f"{heading(device)}\n\n{kernel_table(rows)}\n\n")
    if args.json:
        write_json(args.json, {"machine": machine(), "rows": [asdict(row) for row in rows]})
    return kernel_summary(rows)
