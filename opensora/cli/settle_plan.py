"""`opensora settle-plan`: a plan without what could not be encoded, and the ledger of a stage."""

import argparse

from opensora.core.arguments import share

HELP = (
    "Deal the clips that could not be encoded out of a batch plan, and write the ledger of a stage:"
    " how often each clip is seen, or why it never is. Without indexes, as for training from"
    " videos, nothing is dealt out."
)
EXAMPLE = (
    "opensora settle-plan --manifest mine/manifest.csv --plan mine/plan.parquet"
    " --left-out mine/left_out.parquet --latents mine/latents/stage1"
    " --embeddings mine/embeddings --settled mine/settled.parquet"
    " --rejected mine/rejected.csv --ledger mine/ledger.json"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--manifest", required=True, metavar="FILE", help="clips of the run")
    parser.add_argument("--plan", required=True, metavar="FILE", help="what assign-buckets wrote")
    parser.add_argument(
        "--left-out",
        required=True,
        metavar="FILE",
        help="its table of clips in no batch",
    )
    parser.add_argument(
        "--latents", nargs="+", metavar="PATH", help="latent indexes of all shards, or their folder"
    )
    parser.add_argument(
        "--embeddings", nargs="+", metavar="PATH", help="embedding indexes, or their folder"
    )
    parser.add_argument(
        "--max-rejected",
        type=share,
        default=0.01,  # plans.settle_plan.MAX_REJECTED, which is slow to import
        metavar="SHARE",
        help="largest share of the plan's clips that may be missing (default: 0.01)",
    )
    parser.add_argument("--settled", required=True, metavar="FILE", help="plan to train (.parquet)")
    parser.add_argument("--rejected", required=True, metavar="FILE", help="clips dealt out (.csv)")
    parser.add_argument("--ledger", required=True, metavar="FILE", help="clips and seconds (.json)")


def run(args: argparse.Namespace) -> str:
    """Settle, account, write; returns the summary line."""
    from opensora.core.io import write_json
    from opensora.core.seal import sealed
    from opensora.plans import settle_plan as stage
    from opensora.plans.compile import BatchPlan
    from opensora.plans.ledger import stage_ledger
    from opensora.tables.columns import ID, LEFT_OUT, PATH, REJECTED
    from opensora.tables.io import read_table, write_table
    from opensora.tables.manifest import read_manifest

    manifest, plan = read_manifest(args.manifest), BatchPlan(args.plan)
    left_out = read_table(args.left_out, LEFT_OUT)
    latents, embeddings = (
        stage.read_index(paths, rule, has_buckets=rule == stage.LATENTS_RULE) if paths else None
        for paths, rule in (
            (args.latents, stage.LATENTS_RULE),
            (args.embeddings, stage.EMBEDDINGS_RULE),
        )
    )
    rejected = stage.find_rejected(plan, latents, embeddings)
    num_clips = len(plan.entries.ids)
    stage.require_few(rejected, num_clips, args.max_rejected)
    stage.write_settled(plan, args.plan, rejected, args.settled)
    settled = BatchPlan(args.settled)
    paths = manifest.set_index(ID)[PATH]
    table = rejected.assign(path=paths.reindex(rejected[ID]).fillna("").to_numpy())
    write_table(table[list(REJECTED.columns)].drop_duplicates(), args.rejected, REJECTED)
    ledger = stage_ledger(manifest, left_out, plan, settled, rejected)
    write_json(args.ledger, sealed(ledger))
    return (
        f"{rejected[ID].nunique()} of {num_clips} clips rejected, {len(settled)} of {len(plan)}"
        f" micro batches stay -> {args.settled}"
    )
