"""`opensora sample`: sample videos for prompts."""

import argparse
from typing import Any

HELP = "Sample videos for prompts with a trained model; finished samples are kept on a second run."
EXAMPLE = (
    "opensora sample configs/demo/inference/sample.py --ckpt-path results/demo/train/stage1/"
    "ema.safetensors --vae results/demo/models/vae --text-encoder results/demo/models/text_encoder"
    " --prompt-path prompts.txt --save-dir results/demo/samples/stage1"
)
TAKES_OVERRIDES = True

# option -> field of the config it sets
_FIELDS = {
    "ckpt_path": "checkpoint",
    "vae": "vae.from_pretrained",
    "text_encoder": "text_encoder.from_pretrained",
    "prompt_path": "prompt_path",
    "prompt": "prompt",
    "save_dir": "save_dir",
    "num_samples": "num_samples",
    "seed": "seed",
    "batch_size": "batch_size",
    "image_size": "image_size",
    "num_frames": "num_frames",
    "fps": "fps",
    "num_sampling_steps": "scheduler.num_sampling_steps",
    "cfg_scale": "scheduler.cfg_scale",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; every other field of the config is an option as well."""
    parser.add_argument("config", help="sampling config (.py)")
    _add(parser, "--ckpt-path", metavar="FILE", help="model or EMA weights; config.py beside them")
    _add(parser, "--vae", metavar="DIR", help="folder of the VAE")
    _add(parser, "--text-encoder", metavar="DIR", help="folder of the text encoder")
    _add(parser, "--prompt-path", metavar="FILE", help="text file with one prompt per line")
    _add(parser, "--prompt", nargs="+", metavar="TEXT", help="prompts, instead of a file")
    _add(parser, "--save-dir", metavar="DIR", help="where the samples go")
    _add(parser, "--num-samples", type=int, metavar="K", help="samples per prompt")
    _add(parser, "--seed", type=int, help="base of every sample's own seed")
    _add(parser, "--batch-size", type=int, help="samples per forward; results do not depend on it")
    _add(parser, "--image-size", type=int, nargs=2, metavar=("H", "W"), help="size in pixels")
    _add(parser, "--num-frames", type=int, help="frames per sample; 1 makes images")
    _add(parser, "--fps", type=float, help="frames per second")
    _add(parser, "--num-sampling-steps", type=int, metavar="N", help="steps of the scheduler")
    _add(parser, "--cfg-scale", type=float, metavar="S", help="guidance scale of the scheduler")
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Sample; returns the summary line."""
    import torch

    from opensora.core.config import load_config
    from opensora.sampling.pipeline import load_pipeline
    from opensora.sampling.prompts import prompts_of
    from opensora.sampling.run import sample_prompts
    from opensora.sampling.settings import FIELDS, SamplingSettings

    config = load_config(args.config, args.overrides, known=FIELDS).to_dict()
    apply_options(config, args)
    settings = SamplingSettings.from_config(config)
    prompts = prompts_of(config)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    pipeline = load_pipeline(config, settings, device)
    table = sample_prompts(pipeline, prompts, settings, config)
    count = len(set(prompts)) * settings.num_samples
    return f"samples={count} prompts={len(set(prompts))} table={table}"


def apply_options(config: dict[str, Any], args: argparse.Namespace) -> None:
    """Put the options that were given into their fields of the config.

    Raises:
        ConfigError: both kinds of prompts were given.
    """
    from opensora.core.errors import ConfigError

    if args.prompt is not None and args.prompt_path is not None:
        raise ConfigError("--prompt and --prompt-path exclude each other; give one of them.")
    if args.prompt_path is not None:
        config["prompt"] = None  # the option wins over prompts in the config file
    for option, field in _FIELDS.items():
        value = getattr(args, option)
        if value is None:
            continue
        *parents, name = field.split(".")
        node = config
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value


def _add(parser: argparse.ArgumentParser, name: str, **settings: Any) -> None:
    """Add an option; `_` and `-` are the same in its name."""
    underscored = "--" + name[2:].replace("-", "_")
    parser.add_argument(*dict.fromkeys([name, underscored]), **settings)
