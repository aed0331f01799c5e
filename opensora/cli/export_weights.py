"""`opensora export-weights`: what training made of an open model, for pipelines of diffusers."""

import argparse
from pathlib import Path

HELP = (
    "Write what a training of a model of diffusers left behind in the form that its pipeline loads:"
    " adapters as pytorch_lora_weights.safetensors, or with --pipeline a whole folder for"
    " from_pretrained."
)
EXAMPLE = "opensora export-weights results/demo/train/stage1 --output mine/for_diffusers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("outputs", type=Path, help="outputs of a training")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="to write")
    parser.add_argument(
        "--pipeline",
        metavar="FOLDER",
        help="folder or hub name of the pipeline that training began with: its other parts are"
        " copied, and the weights written whole",
    )


def run(args: argparse.Namespace) -> str:
    """Write; returns the summary line."""
    from opensora.models.open.take_away import take_away
    from opensora.models.weights.folders import resolve_folder

    pipeline = None
    if args.pipeline is not None:
        pipeline = resolve_folder(args.pipeline, kind="pipeline")
    written = take_away(args.outputs, args.output, pipeline)
    return f"weights for diffusers -> {written}"
