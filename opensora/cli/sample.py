"""`opensora sample`: sample videos or images for prompts."""

import argparse
from typing import TYPE_CHECKING, Any

from opensora.core.arguments import count, number, positive, whole

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
# what is no field of the config
_OWN = frozenset(
    {"config", "overrides", "device", "threads", "log_file", "job_log"}
    | {"processes", "part", "join_parts", "replay"}
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; every other field of the config is an option as well."""
    parser.add_argument(
        "config", nargs="?", help="sampling config (.py), or a folder of `opensora export-weights`"
    )
    _add(parser, "--ckpt-path", metavar="PATH", help="weights of the model: a file or a folder")
    _add(parser, "--lora", metavar="FILE", help="lora.safetensors of a training on these weights")
    _add(parser, "--vae", metavar="DIR", help="folder of the VAE")
    _add(parser, "--text-encoder", metavar="DIR", help="folder of the text encoder")
    _add(
        *(parser, "--image-encoder"),
        metavar="DIR",
        help="folder of the pipeline whose CLIP a model of image to video reads",
    )
    _add(parser, "--prompt-path", metavar="FILE", help="text file with one prompt per line")
    _add(parser, "--prompt", nargs="+", metavar="TEXT", help="prompts, instead of a file")
    _add(parser, "--save-dir", metavar="DIR", help="where the samples go")
    _add(parser, "--num-samples", type=count, metavar="K", help="samples per prompt")
    _add(parser, "--seed", type=int, help="base of every sample's own seed")
    _add(parser, "--batch-size", type=count, help="samples per forward; changes rounding only")
    _add(
        *(parser, "--image-size"),
        type=count,
        nargs="+",
        metavar="PX",
        help="height and width in pixels; one number is both",
    )
    _add(parser, "--num-frames", type=count, help="frames per clip; 1 makes images")
    _add(parser, "--fps", type=positive, help="frames per second")
    _add(parser, "--frame-interval", type=count, metavar="N", help="files play at fps / N")
    _add(parser, "--loop", type=count, metavar="N", help="clips joined to one video")
    _add(
        parser,
        "--condition-frame-length",
        type=whole,
        metavar="T",
        help="frames joined clips share",
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
    _add(parser, "--num-sampling-steps", type=count, metavar="N", help="steps of the scheduler")
    _add(parser, "--cfg-scale", type=number, metavar="S", help="guidance scale of the scheduler")
    _add(
        *(parser, "--sp-size"),
        type=count,
        metavar="N",
        help="workers that share each sample, N processes on this machine, on N GPUs if any",
    )
    _add_ways(parser)
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")


def _add_ways(parser: argparse.ArgumentParser) -> None:
    """Options that say who makes the samples, and which of them again."""
    parser.add_argument(
        "--processes",
        type=count,
        metavar="N",
        help="processes on this machine, on N GPUs if any, that deal the samples out; a multiple of"
        " sp_size, which is the default",
    )
    parser.add_argument(
        "--part", metavar="K/N", help="make the K-th of N parts of the samples, and a table of it"
    )
    parser.add_argument(
        "--join-parts",
        type=count,
        metavar="N",
        help="join the tables of all N parts in --save-dir, and make nothing",
    )
    parser.add_argument(
        "--replay",
        metavar="FILE",
        help="make the sample of this record (.json) again, in place of a config",
    )


def run(args: argparse.Namespace) -> str:
    """Sample; returns the summary line."""
    from opensora.core.errors import ConfigError, missing

    if sum(bool(way) for way in (args.config, args.replay, args.join_parts)) != 1:
        raise missing(
            "give a sampling config, or --replay FILE, or --join-parts N; one of them",
            args.overrides,
        )
    if args.replay or args.join_parts:
        if args.part or args.processes:
            raise ConfigError("--part and --processes have no effect without a sampling config")
        return _replay(args) if args.replay else _join(args)
    from opensora.models.device import choose_device
    from opensora.sampling.pipeline import load_pipeline
    from opensora.sampling.places import parse_part
    from opensora.sampling.prompts import prompts_of
    from opensora.sampling.run import sample_prompts
    from opensora.sampling.settings import SamplingSettings
    from opensora.tables.io import read_table

    config = _config(args)
    settings = SamplingSettings.from_config(config)
    prompts, part = prompts_of(config, settings), parse_part(args.part)
    device = choose_device(args.device)
    if (args.processes or settings.sp_size) > 1:
        table = _share(args, config, settings, prompts, device)
    else:
        pipeline = load_pipeline(config, settings, device)
        table = sample_prompts(pipeline, prompts, settings, config, part=part)
    if table is None:
        return ""
    made = read_table(table)
    return f"samples={len(made)} prompts={made['prompt'].nunique()} table={table}"


def _config(args: argparse.Namespace) -> dict[str, Any]:
    """The sampling config: that of a file, or of a folder that holds a model."""
    from pathlib import Path

    from opensora.config.load import load_config, override_config
    from opensora.sampling.settings import FIELDS
    from opensora.sampling.taken_away.model_folder import start_of

    words = [*given_options(args), *args.overrides]
    if not Path(args.config).is_dir():
        return load_config(args.config, words, known=FIELDS, kind="inference").to_dict()
    fields = start_of(Path(args.config))
    if args.prompt_path:  # in place of the prompts that the folder shows
        fields.pop("prompt", None)
    return override_config(
        fields, words, place=args.config, known=FIELDS, kind="inference"
    ).to_dict()


def _join(args: argparse.Namespace) -> str:
    from pathlib import Path

    from opensora.core.errors import ConfigError
    from opensora.sampling.table import join_parts
    from opensora.tables.io import read_table

    if not args.save_dir or args.overrides:
        raise ConfigError("--join-parts takes a number of parts and --save-dir, the folder of them")
    table = join_parts(Path(args.save_dir), args.join_parts)
    return f"samples={len(read_table(table))} parts={args.join_parts} table={table}"


def _replay(args: argparse.Namespace) -> str:
    from opensora.core.process import use_threads
    from opensora.models.device import choose_device
    from opensora.sampling.replay import read_record, replay

    record = read_record(args.replay)
    if args.threads is None and isinstance(threads := record.get("threads"), int):
        use_threads(threads)
    made = replay(
        args.replay,
        record,
        [*given_options(args), *args.overrides],
        choose_device(args.device or record.get("device")),
    )
    same = {True: "yes", False: "no", None: "unknown"}[made.is_same]
    return f"sample={made.path} same_bytes={same}"


def _share(
    args: argparse.Namespace,
    config: dict[str, Any],
    settings: "SamplingSettings",
    prompts: "list[Prompt]",
    device: str,
) -> "Path | None":
    """Sample in several processes; those of a group share each sample.

    Returns:
        The table, in the first worker; None in the others and in the process that starts them.
    """
    from opensora.acceleration.launch import launch
    from opensora.acceleration.sequence import share_videos
    from opensora.acceleration.workers import inside_worker, worker_group
    from opensora.core.errors import ConfigError
    from opensora.core.signals import StopSignals
    from opensora.sampling.pipeline import load_pipeline
    from opensora.sampling.places import parse_part
    from opensora.sampling.run import sample_prompts

    processes = args.processes or settings.sp_size
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device} is one GPU and there are {processes}; use cuda")
    if processes % settings.sp_size:
        raise ConfigError(
            f"--processes {processes} form no groups of sp_size {settings.sp_size}; give a multiple"
        )
    gpus = processes if device == "cuda" else 0
    with StopSignals() as signals:
        if not inside_worker():
            words = ["-m", "opensora.cli.main", "sample", str(args.config), *given_options(args)]
            words += ["--processes", str(processes), "--part", args.part or "1/1"]
            words += ["--device", device, *args.overrides]
            launch(words, processes=processes, gpus=gpus, signals=signals)
            return None
        with worker_group(gpus=gpus, sp_size=settings.sp_size, some=True) as workers:
            if workers.world_size != processes:
                raise ConfigError(
                    f"{processes} processes were asked for and {workers.world_size} workers"
                    " started; leave the starting of them to this command"
                )
            with workers.one_voice():
                pipeline = load_pipeline(config, settings, workers.device)
                share_videos(pipeline.model, workers)
                table = sample_prompts(
                    *(pipeline, prompts, settings, config),
                    part=parse_part(args.part),
                    workers=workers,
                    signals=signals,
                )
            return table if workers.is_main else None


def given_options(args: argparse.Namespace) -> list[str]:
    """The options that were given, as overrides of fields of the config."""
    words: list[str] = []
    for name, value in vars(args).items():
        if value is None or name in _OWN:
            continue
        words.append(f"--{name}")
        words += map(str, value) if isinstance(value, list) else [str(value)]
    return words


def _add(parser: argparse.ArgumentParser, name: str, **settings: Any) -> None:
    """Add an option; `_` and `-` are the same in its name."""
    underscored = "--" + name[2:].replace("-", "_")
    parser.add_argument(*dict.fromkeys([name, underscored]), **settings)
