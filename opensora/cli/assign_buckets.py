"""`opensora assign-buckets`: put clips into buckets and compile the batch plan of one stage."""

import argparse

HELP = (
    "Put the training clips of a manifest into buckets and compile the batch plan. Any field of"
    " the config can be given as --field VALUE."
)
EXAMPLE = (
    "opensora assign-buckets configs/demo/train/stage1.py --data-path manifest.csv"
    " --assignment buckets/assignment.csv --plan buckets/plan.parquet"
    " --summary buckets/summary.json --world-size 8"
)
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", help="training config (.py) with bucket_config and epochs")
    parser.add_argument("--data-path", required=True, metavar="FILE", help="manifest")
    parser.add_argument("--assignment", required=True, metavar="FILE", help="bucket of each clip")
    parser.add_argument("--plan", required=True, metavar="FILE", help="batch plan (.parquet)")
    parser.add_argument("--summary", required=True, metavar="FILE", help="counts (.json)")
    parser.add_argument("--world-size", type=int, default=1, metavar="W", help="training processes")
    parser.add_argument(
        "--vae-stride",
        type=int,
        nargs=3,
        default=(1, 8, 8),
        metavar=("T", "H", "W"),
        help="pixels of one latent value, to count tokens in the summary (default: 1 8 8)",
    )


def run(args: argparse.Namespace) -> str:
    """Assign, compile, write; returns the summary line."""
    import logging

    from opensora.core.config import load_config
    from opensora.core.errors import ConfigError
    from opensora.core.io import write_json
    from opensora.datasets.plan import write_plan
    from opensora.datasets.planning import plan_training
    from opensora.tables.columns import ASSIGNMENT, MANIFEST
    from opensora.tables.io import read_table, write_table
    from opensora.training.config import KNOWN_FIELDS

    if args.world_size < 1:
        raise ConfigError(f"--world-size {args.world_size}: expected at least 1")
    config = load_config(args.config, args.overrides, known=KNOWN_FIELDS)
    made = plan_training(
        read_table(args.data_path, MANIFEST),
        config.to_dict(),
        world_size=args.world_size,
        vae_stride=tuple(args.vae_stride),
    )
    for warning in made.summary["warnings"]:
        logging.getLogger(__name__).warning("plan %s", warning)
    write_table(made.assignment, args.assignment, ASSIGNMENT)
    write_plan(made.plan, args.plan, **made.settings)
    write_json(args.summary, made.summary)
    totals = made.summary["totals"]
    placed = totals["clips"] - sum(made.summary["dropped"].values())
    return (
        f"{placed} of {totals['clips']} clips in {len(made.summary['buckets'])} buckets,"
        f" {totals['steps']} steps over {totals['epochs']} epochs -> {args.plan}"
    )
