"""The plan that a run replays, `state/plan.parquet`, also when the data set changes on the way.

A run begins with a copy of the plan it is given. When it is resumed with another one, and that

- begins with all that was trained already (more epochs), it takes the place of the old one;
- has all clips of the old one and more, the epoch in progress ends as the old plan says and the
  next one begins as the new plan says;
- has the same clips, dealt out to another number of processes, the old one goes on;
- lacks clips, or has another order, an error names the choices.
"""

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from opensora.acceleration.workers import Workers
from opensora.core.errors import CheckpointError
from opensora.core.io import atomic_path
from opensora.plans.compile import BatchPlan, step_entries, whole_steps, write_plan
from opensora.plans.entries import entries_of, in_table, join_entries
from opensora.plans.settle_plan import SETTLED_FROM
from opensora.plans.stage_plan import plan_training
from opensora.tables.manifest import read_manifest
from opensora.training.checkpoint import EMA, Counters, newest_checkpoint, read_counters
from opensora.training.config import TrainConfig

log = logging.getLogger(__name__)

PLAN = "plan.parquet"
SOURCE = "given"  # hash of the plan that was given last
FORMER = "continues"  # hashes of the plans that this one equals up to `UNTIL`
UNTIL = "continues_until"


def choose_plan(config: TrainConfig, workers: Workers, loaded: Path | None = None) -> Path:
    """Decide which plan the run replays; the main worker writes it, the others wait.

    Args:
        config: the plan that is given, and the state folder.
        workers: the processes of the run.
        loaded: checkpoint of another run that this one goes on from, if it has none of its own;
            the plan goes on as that one's would.

    Returns:
        `state/plan.parquet`.

    Raises:
        TableError: the plan can not be read.
        CheckpointError: the run in progress can not go on with this plan.
    """
    workers.first(lambda: _choose(config.given_plan, config.state_folder, loaded))
    return config.state_folder / PLAN


def compile_plan_of(config: TrainConfig, fields: Mapping[str, Any], *, world_size: int) -> None:
    """Compile the plan of a manifest, for online training without one of its own.

    Args:
        config: dataset.data_path and the state folder.
        fields: the whole config: buckets or fixed size, epochs, seed.
        world_size: processes that will train.

    Raises:
        TableError: the manifest is missing or lacks columns.
        ConfigError: no batch can be formed.
    """
    manifest = read_manifest(config.dataset["data_path"])
    made = plan_training(manifest, fields, world_size=world_size)
    for warning in made.summary["warnings"]:
        log.warning("plan %s", warning)
    write_plan(made.plan, config.given_plan, **made.settings)


def continues_plan(plan: BatchPlan, counters: Counters) -> bool:
    """Whether what a checkpoint has trained is the beginning of this plan."""
    if counters.plan_hash == plan.hash:
        return True
    is_former = counters.plan_hash in plan.metadata.get(FORMER, [])
    return is_former and counters.micro_batches <= plan.metadata[UNTIL]


def _choose(given: Path, state: Path, loaded: Path | None) -> None:
    new, target = BatchPlan(given), state / PLAN
    found, former_plan = newest_checkpoint(state), target
    if found is None and loaded is not None:
        found = loaded, replace(read_counters(loaded), finished=False)
        former_plan = loaded.parent / PLAN
    if found is None or not former_plan.is_file():
        _write(new.table, new, target, {})
        return
    folder, counters = found
    old = BatchPlan(former_plan)
    if new.hash in (old.hash, old.metadata.get(SOURCE)):
        _keep(former_plan, target)
        return
    used = counters.micro_batches
    former = {FORMER: [old.hash, *old.metadata.get(FORMER, [])]}
    is_ours = continues_plan(old, counters)
    if is_ours and _same_entries(old.table.slice(0, used), new.table.slice(0, used)):
        log.info("plan extended micro_batches=%d..%d", len(old), len(new))
        _write(new.table, new, target, {**former, UNTIL: used})
        return
    if counters.finished or not is_ours:
        _write(new.table, new, target, {})  # find_resumable says what becomes of the checkpoint
        return
    gone, added = _difference(old, new)
    if not gone and not added and _is_redealt(old, new):
        log.info("plan kept reason='made for another number of processes'")
        _keep(former_plan, target)
        return
    if (gone or not added) and former_plan != target:
        _write(new.table, new, target, {})  # begins anew; continue_from says so
        return
    if gone or not added:
        raise CheckpointError(
            f"{state}: step {counters.step} of an unfinished run is of plan {old.hash[:8]} and this"
            f" run has plan {new.hash[:8]}, which {_what_differs(old, new, gone, used)}; choose: go"
            f" on as planned with --dataset.plan {target}, remove {state} to start afresh, or keep"
            f" the weights with --load {folder / EMA} and other --outputs"
        )
    until = _end_of_epoch(old, used)
    table, epoch = _joined(old, new, until)
    log.info(
        "plan continued new_clips=%d from_epoch=%d from_micro_batch=%d", len(added), epoch, until
    )
    _write(table, new, target, {**former, UNTIL: until})


def _keep(plan: Path, target: Path) -> None:
    """Go on with a plan, that of this run or a copy of another one's."""
    if plan != target:
        with atomic_path(target) as path:
            shutil.copyfile(plan, path)


def _difference(old: BatchPlan, new: BatchPlan) -> tuple[list[str], list[str]]:
    """Ids that only the old plan has, and those that only the new one has."""
    before, after = set(old.items()["id"]), set(new.items()["id"])
    return sorted(before - after), sorted(after - before)


def _what_differs(old: BatchPlan, new: BatchPlan, gone: list[str], used: int) -> str:
    """Why a run can not go on with the new plan."""
    if _same_entries(old.table.slice(0, len(new)), new.table):
        return f"ends after {len(new)} micro batches, of which {used} are trained already"
    if gone:
        return f"lacks {len(gone)} of its clips (first {gone[0]!r})"
    return "has the same clips in another order"


def _is_redealt(old: BatchPlan, new: BatchPlan) -> bool:
    """Whether a plan was made again for other processes, which may order its batches anew."""
    passing = {"hash", "world_size", "num_steps", SETTLED_FROM, SOURCE, FORMER, UNTIL}
    one, other = old.metadata, new.metadata
    common = (one.keys() & other.keys()) - passing  # plans of before say less
    is_same = all(one[name] == other[name] for name in common)
    return is_same and one["world_size"] != other["world_size"]


def _end_of_epoch(plan: BatchPlan, used: int) -> int:
    """Position behind the epoch that the last of `used` entries belongs to."""
    epochs = plan.table["epoch"]
    return int(pc.sum(pc.less_equal(epochs, epochs[used - 1])).as_py())


def _joined(old: BatchPlan, new: BatchPlan, until: int) -> tuple[pa.Table, int]:
    """The old entries before `until`, then the new ones of all later epochs; and the first such."""
    epoch = old.table["epoch"][until - 1].as_py() + 1
    begin = int(pc.sum(pc.less(new.table["epoch"], epoch)).as_py())
    parts = (old.table.slice(0, until), new.table.slice(begin))
    columns: dict[str, Any] = {
        name: pa.concat_arrays([part[name].combine_chunks().cast(kind) for part in parts])
        for name, kind in (("epoch", pa.int32()), ("bucket", pa.string()))
    }
    columns["ids"] = join_entries([entries_of(part["ids"]) for part in parts]).column()
    return pa.table(columns), epoch


def _same_entries(one: pa.Table, other: pa.Table) -> bool:
    """Whether two sequences are equal, however their clips and buckets are numbered."""
    if len(one) != len(other) or not one["epoch"].equals(other["epoch"]):
        return False
    if not one["bucket"].cast(pa.string()).equals(other["bucket"].cast(pa.string())):
        return False
    mine, others = entries_of(one["ids"]), entries_of(other["ids"])
    same_sizes = np.array_equal(mine.offsets, others.offsets)
    return same_sizes and np.array_equal(mine.clips, in_table(others, mine.ids))


def _write(table: pa.Table, given: BatchPlan, target: Path, more: dict[str, Any]) -> None:
    """Write a sequence with the settings of the plan that was given."""
    settings = {**given.metadata, SOURCE: given.hash, **more}
    frame: pd.DataFrame = whole_steps(table, step_entries(given.metadata))
    frame.attrs = {}
    if table is not given.table:
        parts = (*settings[FORMER], settings[UNTIL], given.hash)
        settings["hash"] = hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()
    write_plan(frame, target, **settings)
