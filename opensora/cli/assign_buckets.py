"""`opensora assign-buckets`: put clips into buckets and compile the batch plan of one stage."""

import argparse
import logging
from typing import TYPE_CHECKING, Any

from opensora.core.arguments import count

if TYPE_CHECKING:
    import pandas as pd

    from opensora.config.latent_grid import LatentGrid
    from opensora.plans.stage_plan import TrainingPlan

HELP = (
    "Put the training clips of a manifest into buckets and compile the batch plan; prints a table"
    " and writes what is asked for. Any field of the config can be given as --field VALUE."
)
EXAMPLE = (
    "opensora assign-buckets configs/demo/train/stage1.py --data-path mine/manifest.csv"
    " --plan mine/plan.parquet --validation mine/validation.parquet --items mine/items"
    " --num-shards 8 --left-out mine/left_out.parquet --summary mine/summary.json --world-size 8"
)
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", help="training config (.py): bucket_config, epochs, balance, ...")
    parser.add_argument("--data-path", required=True, metavar="FILE", help="manifest")
    parser.add_argument("--plan", metavar="FILE", help="batch plan (.parquet)")
    parser.add_argument(
        "--validation", metavar="FILE", help="plan of the validation split, one pass (.parquet)"
    )
    parser.add_argument(
        "--items",
        metavar="DIR",
        help="what encode-videos has to encode for the plans: a table a shard, {0000..}.parquet",
    )
    parser.add_argument(
        "--num-shards", type=count, default=1, metavar="N", help="tables of --items (default: 1)"
    )
    parser.add_argument(
        "--windows",
        type=count,
        default=1,
        metavar="N",
        help="different windows of a long clip in --items; each epoch trains on one (default: 1)",
    )
    parser.add_argument(
        "--sources",
        metavar="JSON",
        help="where sources do not count alike: weight, repeat and max_share of each by its name in"
        ' the column source_name, as \'{"web": {"weight": 3}, "own": {"weight": 1}}\'',
    )
    parser.add_argument(
        "--left-out", metavar="FILE", help="training clips in no batch, with reasons (.parquet)"
    )
    parser.add_argument("--summary", metavar="FILE", help="counts (.json)")
    parser.add_argument("--plot", metavar="FILE", help="the table as bars (.svg)")
    parser.add_argument(
        "--world-size", type=count, default=1, metavar="W", help="training processes"
    )
    parser.add_argument(
        "--vae-stride",
        type=count,
        nargs=3,
        metavar=("T", "H", "W"),
        help="pixels of one latent value, to count tokens (default: as the config's vae says, or"
        " 1 8 8)",
    )
    parser.add_argument(
        "--frame-step",
        type=count,
        metavar="N",
        help="the autoencoder takes 1 + a multiple of N frames (default: as the config's vae says,"
        " or the frames of --vae-stride)",
    )
    parser.add_argument(
        "--frame-chunk",
        type=count,
        metavar="N",
        help="frames after which the latents of the autoencoder begin anew (default: as the"
        " config's vae says, or never)",
    )


def _config(args: argparse.Namespace) -> dict[str, Any]:
    from opensora.config.canonical import check_training_parts
    from opensora.config.load import load_config
    from opensora.training.config import KNOWN_FIELDS

    config = load_config(args.config, args.overrides, known=KNOWN_FIELDS).to_dict()
    check_training_parts(args.config, config)  # before anything is encoded for it
    return config


def _grid(args: argparse.Namespace, config: dict[str, Any]) -> "LatentGrid":
    """What the autoencoder makes of a video; lengths that it can not take are refused."""
    from dataclasses import replace

    from opensora.config.latent_grid import check_config_frames, config_grid
    from opensora.config.open_folder import read_patch

    grid = config_grid(config, args.vae_stride)
    grid = replace(
        grid,
        frame_step=args.frame_step or grid.frame_step,
        chunk=args.frame_chunk or grid.chunk,
    )
    check_config_frames(config, grid, args.config)
    model = config.get("model") or {}
    if model.get("type") == "diffusers" and read_patch(model) is None:
        logging.getLogger(__name__).warning(
            "plan tokens are counted in patches of 1 x 2 x 2 latent values: %s is not on this disk;"
            " give --model.from-pretrained FOLDER",
            model.get("from_pretrained"),
        )
    return grid


def run(args: argparse.Namespace) -> str:
    """Assign, compile, write; returns the summary line."""
    from opensora.config.sources import rates_of
    from opensora.core.errors import ConfigError
    from opensora.core.io import write_json, write_text
    from opensora.core.log import say
    from opensora.core.seal import sealed
    from opensora.plans.balance import COST, check_balance_mode
    from opensora.plans.bars import check_plot_path
    from opensora.plans.figures import plot_summary, summary_table
    from opensora.plans.stage_plan import plan_training
    from opensora.tables.manifest import read_manifest

    if args.windows > 1 and not args.items:
        raise ConfigError("--windows are rows of the items; give --items DIR too")
    if args.items and not args.plan:
        raise ConfigError("--items are those of the plan; give --plan FILE too")
    check_plot_path(args.plot)
    config = _config(args)
    grid = _grid(args, config)
    sample_cost = None
    if check_balance_mode(config.get("balance")) == COST and config.get("model"):
        from opensora.plans.budget.cost import (
            sample_cost_of,  # loads the models, which takes seconds
        )

        sample_cost = sample_cost_of(config, grid.stride, grid.chunk)
    manifest = read_manifest(args.data_path)
    made = plan_training(
        manifest,
        config,
        world_size=args.world_size,
        vae_stride=grid.stride,
        frame_chunk=grid.chunk,
        sample_cost=sample_cost,
        rates=rates_of(args.sources) if args.sources else None,
    )
    for warning in made.summary["warnings"]:
        logging.getLogger(__name__).warning("plan %s", warning)
    _write_tables(args, manifest, config, made)
    if args.summary:
        write_json(args.summary, sealed(made.summary))
    if args.plot:
        write_text(args.plot, plot_summary(made.summary))
    say(summary_table(made.summary))
    totals = made.summary["totals"]
    placed = totals["clips"] - sum(made.summary["dropped"].values())
    outputs = (args.plan, args.validation, args.left_out, args.summary, args.plot)
    written = [path for path in outputs if path]
    return (
        f"{placed} of {totals['clips']} clips in {len(made.summary['buckets'])} buckets,"
        f" {totals['steps']} steps over {totals['epochs']} epochs"
        + (f" -> {written[0]}" if written else "")
    )


def _write_tables(
    args: argparse.Namespace, manifest: "pd.DataFrame", config: dict[str, Any], made: "TrainingPlan"
) -> None:
    """Write the plans, what they need encoded, and who is in none."""
    from opensora.plans.compile import BatchPlan, write_plan
    from opensora.plans.items import write_items
    from opensora.plans.validation_plan import plan_validation
    from opensora.tables.columns import LEFT_OUT
    from opensora.tables.io import write_table

    interval = made.settings["frame_interval"]
    if args.plan:
        write_plan(made.plan, args.plan, **made.settings)
    if args.validation:
        write_plan(plan_validation(manifest, config), args.validation, frame_interval=interval)
    if args.items:
        pairs = [made.pairs()]
        if args.validation:
            pairs.append(BatchPlan(args.validation).items())
        settings = {"frame_interval": interval, "shards": args.num_shards, "windows": args.windows}
        write_items(manifest, pairs, args.items, **settings)
    if args.left_out:
        write_table(made.left_out(), args.left_out, LEFT_OUT)
