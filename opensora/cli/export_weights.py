"""`opensora export-weights`: what training made, for others: with a model card, and to a hub."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opensora.sampling.taken_away.card import Kind

HELP = (
    "Write what a training left behind for others, with a model card. Of a model of this project:"
    " one folder that `opensora sample` starts from alone. Of a model of diffusers: adapters as"
    " pytorch_lora_weights.safetensors, or with --pipeline a whole folder for from_pretrained."
)
EXAMPLE = (
    "opensora export-weights results/demo/train/stage2 --samples results/demo/samples/stage2"
    " --data-card results/demo/data_card.md --output mine/model"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("outputs", type=Path, help="outputs of a training")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="to write")
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="DIR",
        help="samples of these weights, which say how to sample; shown in the card",
    )
    parser.add_argument(
        "--pipeline",
        metavar="FOLDER",
        help="folder or hub name of the pipeline that training began with: its other parts are"
        " copied, and the weights written whole",
    )
    parser.add_argument(
        "--base-model", metavar="NAME", help="hub name of what training began with, for the card"
    )
    parser.add_argument("--licence", metavar="NAME", help="of the weights, as apache-2.0")
    parser.add_argument(
        "--data-card", type=Path, metavar="FILE", help="data_card.md of the run, for the card"
    )
    parser.add_argument(
        "--push",
        metavar="NAME",
        help="upload the folder to this private repository of the Hugging Face hub; the token is"
        " HF_TOKEN of the environment",
    )


def run(args: argparse.Namespace) -> str:
    """Write, and push; returns the summary line."""
    from opensora.core.errors import ConfigError
    from opensora.core.hub import MODEL, check_push, push_folder
    from opensora.core.io import atomic_path, write_text
    from opensora.sampling.taken_away.card import model_card
    from opensora.sampling.taken_away.model_folder import (
        encoders_of,
        hub_name,
        read_data_card,
        read_training,
    )
    from opensora.sampling.taken_away.samples import copy_samples, read_samples

    if args.push:
        check_push(args.push)
    if args.output.exists() and not (args.output.is_dir() and not any(args.output.iterdir())):
        raise ConfigError(f"--output {args.output}: is there already; remove it or name another")
    data_card = read_data_card(args.data_card) if args.data_card else None
    training = read_training(args.outputs)
    samples = read_samples(args.samples, args.outputs) if args.samples else []
    with atomic_path(args.output, folder=True) as folder:
        kind = _write(args, training, samples, folder)
        copy_samples(samples, folder)
        card = model_card(
            kind,
            args.push or args.output.name,
            training,
            samples,
            base_model=args.base_model or hub_name(args.pipeline),
            licence=args.licence,
            data_card=data_card,
            encoders=encoders_of(samples) if kind == "model" else {},
        )
        write_text(folder / "README.md", card)
    pushed = ""
    if args.push:
        message = "weights by opensora export-weights"
        pushed = f" and {push_folder(args.output, args.push, kind=MODEL, message=message)}"
    return f"{kind} and model card -> {args.output}{pushed}"


def _write(
    args: argparse.Namespace, training: dict[str, Any], samples: list[Any], folder: Path
) -> "Kind":
    """Fill a folder with what the model is."""
    from opensora.core.errors import ConfigError
    from opensora.models.open.door import OPEN
    from opensora.models.open.take_away import take_away
    from opensora.models.weights.folders import resolve_folder
    from opensora.sampling.taken_away.model_folder import write_model

    if training["model"].get("type") == OPEN:
        pipeline = resolve_folder(args.pipeline, kind="pipeline") if args.pipeline else None
        take_away(args.outputs, folder, pipeline)
        return "pipeline" if pipeline else "adapters"
    if args.pipeline:
        raise ConfigError("--pipeline is for models of diffusers, and this is none; leave it out")
    if not samples:
        raise ConfigError(
            "--samples is missing: samples of these weights say with which encoders, size and steps"
            " the folder samples; make some with `opensora sample` and name their folder"
        )
    write_model(args.outputs, samples, folder)
    return "model"
