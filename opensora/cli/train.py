"""`opensora train`: train one stage of a diffusion transformer."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from opensora.core.arguments import count, whole

if TYPE_CHECKING:
    from mmengine.config import Config

    from opensora.core.signals import StopSignals
    from opensora.training.config import TrainConfig

HELP = (
    "Train one stage, from latents, embeddings and a batch plan, or with --data-path from the"
    " videos of a manifest. Any field of the config can be given as --field VALUE."
)
EXAMPLE = (
    "opensora train configs/demo/train/stage1.py --outputs mine/stage1"
    " --dataset.latents results/demo/latents/stage1 --dataset.embeddings results/demo/embeddings"
    " --dataset.plan results/demo/buckets/stage1/settled.parquet\n"
    "  opensora train configs/opensora/train/16x256x256.py --data-path mine/manifest.csv --gpus 8"
)
TAKES_OVERRIDES = True
TAKES_THREADS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="MMEngine .py config of the stage")
    parser.add_argument("--outputs", help="folder of the results (default: the config's)")
    parser.add_argument(
        "--load",
        help="what to start from: weights (a file, or the outputs of an earlier stage), or a"
        " checkpoint to go on from (mine/stage1/state)",
    )
    parser.add_argument(
        "--finish",
        action="store_true",
        help="end the stage at its newest checkpoint, whose weights become its results; leaves a"
        " file STOP in the outputs, without which the same command trains on",
    )
    parser.add_argument(
        "--verify-resume",
        action="store_true",
        help="train nothing: check on a few steps that this run resumes exactly after a signal,"
        " after kill -9 and on another number of processes; writes certificate.json into the"
        " outputs",
    )
    parser.add_argument(
        "--steps", type=count, help="with --verify-resume: steps that are checked (default: 8)"
    )
    parser.add_argument(
        "--nodes", type=count, help="nodes of the SLURM job, or those of torchrun (default: 1)"
    )
    parser.add_argument(
        "--gpus", type=whole, default=0, help="GPUs per node; 0 trains on the CPU (default: 0)"
    )
    parser.add_argument(
        "--processes", type=count, help="processes per node (default: one per GPU, or 1)"
    )


def run(args: argparse.Namespace) -> str:
    """Train; returns the summary line (empty in a process that only started others)."""
    from opensora.core.signals import STARTED_BY, StopSignals

    is_first = os.environ.get("RANK", "0") == "0"  # as torchrun says it, too
    with StopSignals(speak=is_first and STARTED_BY not in os.environ) as signals:
        return _run(args, signals)


def _run(args: argparse.Namespace, signals: "StopSignals") -> str:
    from opensora.acceleration.workers import inside_worker, worker_group
    from opensora.config.groups import count_groups
    from opensora.core.errors import Stopped
    from opensora.training.config import read_train_config

    nodes, processes, by_torchrun = _size(args)
    options = {"outputs": args.outputs, "load": args.load}
    config, resolved = read_train_config(args.config, args.overrides, **options)
    world_size = nodes * processes
    count_groups(world_size, config.sp_size)
    if args.verify_resume or args.steps is not None:
        return _certify(args, config, resolved, signals, processes, alone=not by_torchrun)
    if not inside_worker():
        _prepare(args, config, resolved, world_size)
        if signals.received:
            raise Stopped(
                f"{signals.received} came before the first step; nothing is lost, run the same"
                " command again"
            )
    if world_size > 1 and not inside_worker():
        from opensora.acceleration.launch import launch

        words = ["-m", "opensora.cli.main", "train", str(args.config), *_options(args)]
        launch(words, processes=processes, nodes=nodes, gpus=args.gpus, signals=signals)
        return ""
    with worker_group(gpus=args.gpus, sp_size=config.sp_size) as workers:
        from opensora.training.loop import train

        if by_torchrun:  # no process of ours came before
            workers.first(lambda: _prepare(args, config, resolved, world_size))
        summary = train(config, resolved, workers, signals)
        return summary if workers.is_main else ""


def _certify(
    args: argparse.Namespace,
    config: "TrainConfig",
    resolved: "Config",
    signals: "StopSignals",
    processes: int,
    *,
    alone: bool,
) -> str:
    """Make a certificate, or in one of its workers do what it asks for.

    Raises:
        ConfigError: options that do not go together.
        OpenSoraError: the run does not resume exactly; one sentence says where.
    """
    from opensora.acceleration.launch import launch
    from opensora.acceleration.workers import inside_worker, worker_group
    from opensora.core.errors import ConfigError
    from opensora.training.certify.certificate import certify, scratch_of, visible_gpus
    from opensora.training.certify.course import FEWEST_STEPS, USUAL_STEPS

    if not args.verify_resume:
        raise ConfigError(f"--steps {args.steps} goes with --verify-resume; set num_steps instead")
    steps = USUAL_STEPS if args.steps is None else args.steps
    if not alone or args.finish or (args.nodes or 1) > 1 or steps < FEWEST_STEPS:
        raise ConfigError(
            f"--verify-resume starts its own processes on one machine and checks {FEWEST_STEPS}"
            " steps or more: leave torchrun, --nodes and --finish out, or raise --steps"
        )
    if inside_worker():
        from opensora.training.certify.worker import work

        with worker_group(gpus=args.gpus, sp_size=config.sp_size, some=True) as workers:
            work(config, resolved, workers, scratch_of(config))
        return ""

    def start(number: int) -> None:
        size = argparse.Namespace(**{**vars(args), "gpus": number if args.gpus else 0})
        size.processes = number
        words = ["-m", "opensora.cli.main", "train", str(args.config), "--verify-resume"]
        launch([*words, *_options(size)], processes=number, gpus=size.gpus, signals=signals)

    return certify(
        config,
        resolved.to_dict(),
        **{"steps": steps, "processes": processes, "gpus": visible_gpus(args.gpus)},
        start=start,
        signals=signals,
    )


def _size(args: argparse.Namespace) -> tuple[int, int, bool]:
    """Nodes, processes on each, and whether torchrun has started them.

    Raises:
        ConfigError: what is asked for contradicts itself, or what torchrun has started.
    """
    from opensora.acceleration.torchrun import torchrun_size
    from opensora.core.errors import ConfigError
    from opensora.core.process import threads_in_use, use_threads

    nodes = 1 if args.nodes is None else args.nodes
    processes = args.processes or args.gpus or 1
    if args.gpus and processes != args.gpus:
        raise ConfigError(
            f"--gpus {args.gpus} --processes {processes}: expected one process per GPU"
        )
    started = torchrun_size(args.nodes, args.processes or args.gpus or None)
    if started is None:
        return nodes, processes, False
    if args.threads is not None:  # else torchrun has set them
        use_threads(max(1, threads_in_use() // started[1]))
    return *started, True


def _prepare(
    args: argparse.Namespace, config: "TrainConfig", resolved: "Config", world_size: int
) -> None:
    """What one process does before the workers begin: --finish, and a plan of one's own.

    Raises:
        ConfigError: there is nothing to finish.
        OpenSoraError: the plan can not be made.
    """
    from opensora.core.errors import ConfigError

    if args.finish:
        from opensora.training.checkpoint import newest_checkpoint

        if newest_checkpoint(config.state_folder) is None:
            raise ConfigError(
                f"--finish: {config.state_folder} holds no checkpoint to end the stage at; train"
                " until there is one (ckpt_every), or leave --finish out"
            )
        config.stop_file.touch()
    if config.is_online and config.dataset.get("plan") is None:
        from opensora.training.plan import compile_plan_of

        compile_plan_of(config, resolved.to_dict(), world_size=world_size)


def _options(args: argparse.Namespace) -> list[str]:
    """The command line again, for the workers."""
    words = []
    for name in ("outputs", "load", "nodes", "gpus", "processes"):
        value = getattr(args, name)
        if value is not None:
            words += [f"--{name}", str(value)]
    return [*words, *args.overrides]
