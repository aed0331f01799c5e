"""`opensora evaluate`: measure the samples of one stage."""

import argparse
from pathlib import Path

HELP = "Measure samples: prompt following, CLIP similarity, reconstruction ceiling."
EXAMPLE = (
    "opensora evaluate --samples results/demo/samples/stage2/samples.csv"
    " --truth results/demo/raw/truth --output mine/stage2.json"
)
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--samples", type=Path, required=True, help="samples.csv of a stage")
    parser.add_argument("--output", type=Path, required=True, help="JSON file, named as the stage")
    parser.add_argument(
        "--truth", type=Path, help="folder with prompts.csv and scenes.csv of a known world"
    )
    parser.add_argument("--clip", help="CLIP model: a folder or a hub name")
    parser.add_argument("--manifest", type=Path, help="measure real clips as well")
    parser.add_argument("--vae", help="VAE folder: measure reconstructions as well")
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Evaluate; returns the summary line."""
    from opensora.evaluation.evaluate import evaluate, summarise
    from opensora.evaluation.metric import EvaluationInputs, read_samples
    from opensora.models.device import choose_device

    inputs = EvaluationInputs(
        samples=read_samples(args.samples),
        truth=args.truth,
        clip=args.clip,
        manifest=args.manifest,
        vae=args.vae,
        device=choose_device(args.device),
    )
    return summarise(evaluate(inputs, args.output))
