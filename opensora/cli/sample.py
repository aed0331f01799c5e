"""`opensora sample`: sample videos or images for prompts."""

import argparse
from typing import Any

HELP = (
    "Sample videos or images for prompts with a trained model; finished samples are kept on a"
    " second run."
)
EXAMPLE = (
    "opensora sample configs/demo/inference/sample.py --ckpt-path results/demo/train/stage2/"
    "ema.safetensors --vae results/demo/models/vae --text-encoder results/demo/models/text_encoder"
    " --prompt-path results/demo/raw/prompts.txt --save-dir mine/samples"
)
TAKES_OVERRIDES = True
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; every other field of the config is an option as well."""
    parser.add_argument("config", help="sampling config (.py)")
    _add(parser, "--ckpt-path", metavar="PATH", help="weights of the model: a file or a folder")
    _add(parser, "--vae", metavar="DIR", help="folder of the VAE")
    _add(parser, "--text-encoder", metavar="DIR", help="folder of the text encoder")
    _add(parser, "--prompt-path", metavar="FILE", help="text file with one prompt per line")
    _add(parser, "--prompt", nargs="+", metavar="TEXT", help="prompts, instead of a file")
    _add(parser, "--save-dir", metavar="DIR", help="where the samples go")
    _add(parser, "--num-samples", type=int, metavar="K", help="samples per prompt")
    _add(parser, "--seed", type=int, help="base of every sample's own seed")
    _add(parser, "--batch-size", type=int, help="samples per forward; changes rounding only")
    _add(parser, "--image-size", type=int, nargs=2, metavar=("H", "W"), help="size in pixels")
    _add(parser, "--num-frames", type=int, help="frames per clip; 1 makes images")
    _add(parser, "--fps", type=float, help="frames per second")
    _add(parser, "--frame-interval", type=int, metavar="N", help="files play at fps / N")
    _add(parser, "--loop", type=int, metavar="N", help="clips joined to one video")
    _add(
        parser, "--condition-frame-length", type=int, metavar="T", help="frames joined clips share"
    )
    _add(
        *(parser, "--reference-path"),
        nargs="+",
        metavar="FILES",
        help="per prompt: videos or images, separated by ';'; none for no reference",
    )
    _add(
        *(parser, "--mask-strategy"),
        nargs="+",
        metavar="RULES",
        help="per prompt: loop,reference,reference_start,start,length,edit_ratio;...",
    )
    _add(parser, "--num-sampling-steps", type=int, metavar="N", help="steps of the scheduler")
    _add(parser, "--cfg-scale", type=float, metavar="S", help="guidance scale of the scheduler")
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Sample; returns the summary line."""
    from opensora.config.load import load_config
    from opensora.config.registry import check_parts
    from opensora.models.device import choose_device
    from opensora.sampling.pipeline import load_pipeline
    from opensora.sampling.prompts import prompts_of
    from opensora.sampling.run import sample_prompts
    from opensora.sampling.settings import FIELDS, SamplingSettings
    from opensora.tables.io import read_table

    words = [*given_options(args), *args.overrides]
    config = load_config(args.config, words, known=FIELDS, kind="inference").to_dict()
    check_parts(config)
    settings = SamplingSettings.from_config(config)
    prompts = prompts_of(config, settings)
    device = choose_device(args.device)
    pipeline = load_pipeline(config, settings, device)
    table = sample_prompts(pipeline, prompts, settings, config)
    made = read_table(table)
    return f"samples={len(made)} prompts={len(made) // settings.num_samples} table={table}"


def given_options(args: argparse.Namespace) -> list[str]:
    """The options that were given, as overrides of fields of the config."""
    words: list[str] = []
    for name, value in vars(args).items():
        if value is None or name in (
            "config",
            "overrides",
            "device",
            "threads",
            "log_file",
            "job_log",
        ):
            continue
        words.append(f"--{name}")
        words += map(str, value) if isinstance(value, list) else [str(value)]
    return words


def _add(parser: argparse.ArgumentParser, name: str, **settings: Any) -> None:
    """Add an option; `_` and `-` are the same in its name."""
    underscored = "--" + name[2:].replace("-", "_")
    parser.add_argument(*dict.fromkeys([name, underscored]), **settings)
