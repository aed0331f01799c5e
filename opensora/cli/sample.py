"""`opensora sample`: sample videos or images for prompts."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from opensora.sampling.prompts import Prompt
    from opensora.sampling.settings import SamplingSettings

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
    _add(parser, "--lora", metavar="FILE", help="lora.safetensors of a training on these weights")
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
    _add(
        *(parser, "--sp-size"),
        type=int,
        metavar="N",
        help="workers that share each sample, N processes on this machine, on N GPUs if any",
    )
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
    if settings.sp_size > 1:
        table = _share(args, config, settings, prompts, device)
    else:
        table = sample_prompts(load_pipeline(config, settings, device), prompts, settings, config)
    if table is None:
        return ""
    made = read_table(table)
    return f"samples={len(made)} prompts={len(made) // settings.num_samples} table={table}"


def _share(
    args: argparse.Namespace,
    config: dict[str, Any],
    settings: "SamplingSettings",
    prompts: "list[Prompt]",
    device: str,
) -> "Path | None":
    """Sample in several processes that share each sample.

    Returns:
        The table, in the first worker; None in the others and in the process that starts them.
    """
    from opensora.acceleration.launch import launch
    from opensora.acceleration.sequence import share_videos
    from opensora.acceleration.workers import inside_worker, worker_group
    from opensora.core.errors import ConfigError
    from opensora.core.signals import StopSignals
    from opensora.sampling.pipeline import load_pipeline
    from opensora.sampling.run import sample_prompts

    sp_size = settings.sp_size
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device} is one GPU and sp_size is {sp_size}; use cuda")
    gpus = sp_size if device == "cuda" else 0
    with StopSignals() as signals:
        if not inside_worker():
            words = ["-m", "opensora.cli.main", "sample", str(args.config), *given_options(args)]
            words += ["--device", device, *args.overrides]
            launch(words, processes=sp_size, gpus=gpus, signals=signals)
            return None
        with worker_group(gpus=gpus, sp_size=sp_size, some=True) as workers:
            if workers.world_size != sp_size:
                raise ConfigError(
                    f"sp_size is {sp_size} and {workers.world_size} workers were started; leave"
                    " the starting of them to this command"
                )
            with workers.one_voice():
                pipeline = load_pipeline(config, settings, workers.device)
                share_videos(pipeline.model, workers)
                table = sample_prompts(
                    *(pipeline, prompts, settings, config), workers=workers, signals=signals
                )
            return table if workers.is_main else None


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
