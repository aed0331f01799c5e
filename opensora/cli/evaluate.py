"""`opensora evaluate`: measure the samples of one stage, or compare what was measured."""

import argparse
from pathlib import Path
from typing import Any

HELP = "Measure samples, or compare measurements of stages, checkpoints and runs."
EXAMPLE = (
    "opensora evaluate --samples results/demo/samples/stage2/samples.csv"
    " --truth results/demo/raw/truth --output mine/stage2.json"
)
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--samples", type=Path, help="samples.csv of a stage")
    parser.add_argument("--output", type=Path, help="JSON file, named as the stage")
    parser.add_argument(
        "--truth", type=Path, help="folder with prompts.csv and scenes.csv of a known world"
    )
    parser.add_argument("--clip", help="CLIP model: a folder or a hub name")
    parser.add_argument("--manifest", type=Path, help="measure real clips as well")
    parser.add_argument("--vae", help="VAE folder: measure reconstructions as well")
    parser.add_argument(
        "--ckpt-path", type=Path, metavar="FILE", help="weights that made the samples"
    )
    parser.add_argument(
        "--held-out", type=Path, metavar="PLAN", help="measure the loss on clips of this plan"
    )
    parser.add_argument(
        "--options", default="{}", metavar="JSON", help='as {"aesthetic": {"head": "head.pth"}}'
    )
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="weights of EfficientNet-Lite0, or of I3D for FVD",
    )
    parser.add_argument(
        "--vbench-videos", type=Path, metavar="DIR", help="only link samples as VBench names them"
    )
    parser.add_argument(
        "--vbench",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="results of VBench: files, or folders",
    )
    parser.add_argument(
        "--against", type=Path, nargs="+", metavar="FILE", help="compare evaluations with the first"
    )
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Evaluate; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.core.text import counted

    if args.against:
        return _compare(args)
    if not args.samples:
        raise ConfigError("give --samples, the samples.csv of a stage, or --against")
    from opensora.evaluation.metric import EvaluationInputs, read_samples

    samples = read_samples(args.samples)
    if args.vbench_videos:
        from opensora.evaluation.vbench import lay_out, prompt_file

        count = lay_out(samples, args.vbench_videos)
        named = prompt_file(args.vbench_videos)
        return f"{counted(count, 'video')} -> {args.vbench_videos}, their prompts -> {named}"
    if not args.output:
        raise ConfigError("evaluate: needs --output, a JSON file named as the stage")
    from opensora.evaluation.evaluate import evaluate, summarise
    from opensora.models.device import choose_device

    inputs = EvaluationInputs(
        samples=samples,
        truth=args.truth,
        clip=args.clip,
        manifest=args.manifest,
        vae=args.vae,
        checkpoint=args.ckpt_path,
        held_out=args.held_out,
        scorers=_options(args.options),
        features=args.features,
        device=choose_device(args.device),
    )
    return summarise(evaluate(inputs, args.output, args.vbench))


def _compare(args: argparse.Namespace) -> str:
    from opensora.core.io import write_json
    from opensora.evaluation.against import NOISE, compare, read_evaluations, table

    comparison = compare(read_evaluations(args.against))
    if args.output:
        write_json(args.output, comparison)
    verdicts = [
        change["verdict"]
        for entry in comparison["metrics"].values()
        for change in entry["differences"].values()
    ]
    real = sum(verdict != NOISE for verdict in verdicts)
    return (
        f"{table(comparison)}{real} of {len(verdicts)} differences from {comparison['base']} are"
        " not noise at 95 %"
    )


def _options(text: str) -> dict[str, dict[str, Any]]:
    """Options of scorers."""
    import json

    from opensora.core.errors import ConfigError

    try:
        given = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--options: expected JSON, got {text!r} ({error})") from error
    if not isinstance(given, dict) or not all(isinstance(o, dict) for o in given.values()):
        raise ConfigError('--options: expected {"scorer": {"option": value}}')
    return given
