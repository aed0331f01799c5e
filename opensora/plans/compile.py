"""The batch plan: which clips form which micro batch, decided before training.

A plan is one flat sequence of micro batches, a pure function of (assignments, bucket_config,
seed, epochs, balance). World size W and the micro batches of a step, n on each rank, only deal it
out: entry i belongs to step i // (W n) and rank i % W. After any number of whole steps training
continues at the next entry on any number of ranks.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from opensora.buckets.assignment import TOO_MUCH_CROP
from opensora.buckets.bucket import Bucket
from opensora.buckets.bucket_config import BucketConfig, BucketRule, parse_bucket_config
from opensora.core.errors import ConfigError, TableError
from opensora.core.io import atomic_path
from opensora.core.seed import derive_seed
from opensora.plans.balance import SampleCost, StepBalancer
from opensora.plans.entries import MOST_CLIPS, Entries, entries_of, entries_of_file
from opensora.plans.micro_batches import EpochBatches, batch_sizes, count_cells, form_batches
from opensora.plans.mix import SourceMix
from opensora.tables.columns import ID
from opensora.tables.parquet import metadata_of, open_rows, write_rows

ACCUMULATE = "accumulate"  # micro batches of a step on each rank, where it is not one
_METADATA = b"opensora_plan"
_COLUMNS = ["epoch", "bucket", "clips", "new_ids"]


class MicroBatch(NamedTuple):
    """One entry of the plan."""

    epoch: int
    bucket: Bucket
    ids: list[str]


def compile_plan(
    assignments: Sequence[pd.DataFrame],
    bucket_config: BucketConfig,
    *,
    seed: int,
    epochs: int,
    world_size: int = 1,
    accumulate: int = 1,
    drop_last: bool = True,
    sample_cost: SampleCost | None = None,
    max_batches: int | None = None,
    mix: SourceMix | None = None,
) -> pd.DataFrame:
    """Compile the micro batches of all epochs, every one full and every rank as many.

    Clips beyond the last full batch of a cell rest for the epoch, entries beyond the last full step
    are left out; cells that can not fill a batch back off (`back_off.py`).

    Args:
        assignments: ASSIGNMENT tables, one per epoch, or a single one for all epochs.
        bucket_config: the config the clips were assigned with.
        seed: order of clips and batches.
        epochs: number of passes.
        world_size: data-parallel ranks.
        accumulate: micro batches of a step on each rank.
        drop_last: False also trains what does not fill a batch, as one smaller batch per cell.
        sample_cost: makes the batches of a step, and so of a world size, cost alike (`balance.py`).
        max_batches: stop with the epoch that reaches so many entries.
        mix: a fresh one, where sources do not count alike.

    Returns:
        Columns epoch, bucket (text), ids (lists of texts, kept as numbers: `entries.py`), in order;
        `attrs["hash"]` identifies them, "compiled_epochs" of the "epochs" are there.

    Raises:
        ConfigError: too few batches for a step of all ranks, or too many clips to count.
    """
    if min(epochs, world_size, accumulate) < 1 or len(assignments) not in (1, epochs):
        raise ValueError(f"{epochs=}, {world_size=}, {accumulate=}, {len(assignments)=} do not fit")
    rules, digest, tables = parse_bucket_config(bucket_config), hashlib.sha256(), []
    balancer = StepBalancer(world_size, sample_cost) if sample_cost else None
    number, clips, most = 0, 0, max_batches or math.inf
    for epoch in range(epochs):
        table = assignments[epoch % len(assignments)]
        batches = form_batches(table, rules, seed=seed, epoch=epoch, drop_last=drop_last, mix=mix)
        rng = np.random.default_rng(derive_seed(seed, "plan", epoch))
        order = balancer.order(batches, rng) if balancer else rng.permutation(len(batches))
        tables.append(_epoch_table(epoch, batches, order, digest))
        number, clips = number + len(order), clips + int(batches.sizes.sum())
        if number >= most:
            break
        _require_countable(clips, epoch + 1, epochs, share=min(1.0, number / most))
    if number == 0:
        raise ConfigError(explain_no_batch(assignments[0], rules))
    _require_a_step(number, epochs, world_size, accumulate)
    plan = whole_steps(pa.concat_tables(tables), world_size * accumulate)
    epoch_counts = {"epochs": epochs, "compiled_epochs": len(tables)}
    plan.attrs |= {"hash": digest.hexdigest(), "world_size": world_size, **epoch_counts}
    plan.attrs |= {ACCUMULATE: accumulate} if accumulate > 1 else {}  # others keep their bytes
    return plan


def _require_countable(clips: int, done: int, epochs: int, *, share: float) -> None:
    """Refuse a plan that will have too many clips before it fills the memory.

    Args:
        clips: of the epochs that are compiled.
        done: those epochs.
        epochs: all that are asked for.
        share: of the batches that are wanted at most, those compiled; 0 without such a limit.
    """
    expected = clips / done * epochs if share == 0 else min(clips / done * epochs, clips / share)
    if expected > MOST_CLIPS:
        raise ConfigError(
            f"epochs: {clips / done:,.0f} clips an epoch make {expected:,.0f} in {epochs} epochs"
            f" and a plan counts up to {MOST_CLIPS:,}; set epochs to"
            f" {max(1, int(MOST_CLIPS * done / clips))} or less, or num_steps to a smaller number"
        )


def plan_of_batches(batches: EpochBatches, order: np.ndarray) -> pd.DataFrame:
    """The plan of one pass over some batches, for a single rank.

    Args:
        batches: of one epoch.
        order: int, positions of the batches; none of them is an empty plan.
    """
    digest = hashlib.sha256()
    plan = whole_steps(_epoch_table(0, batches, order, digest), 1)
    plan.attrs |= {"hash": digest.hexdigest(), "world_size": 1, "epochs": 1, "compiled_epochs": 1}
    return plan


def step_entries(metadata: Mapping[Any, Any]) -> int:
    """Entries that a step of all ranks takes, by what stands beside a plan."""
    return int(metadata["world_size"] * metadata.get(ACCUMULATE, 1))


def whole_steps(table: pa.Table, entries: int) -> pd.DataFrame:
    """The entries of a flat sequence that fill whole steps.

    Args:
        table: columns epoch, bucket and ids.
        entries: of a step of all ranks.
    """
    dealt = table.slice(0, len(table) // entries * entries)
    return pd.DataFrame(
        {
            "epoch": dealt["epoch"].to_numpy(),
            "bucket": dealt["bucket"].to_pandas().astype(str),
            "ids": pd.Series(dealt["ids"].to_pandas(types_mapper=pd.ArrowDtype)),
        }
    )


def _epoch_table(epoch: int, batches: EpochBatches, order: np.ndarray, digest: Any) -> pa.Table:
    """The batches of one epoch in order; `digest` takes in who is in them."""
    clips, offsets = batches.rows(order)
    names = pa.array([str(cell) for cell in batches.cells], pa.string())
    bucket = names.take(pa.array(batches.cell[order]))
    digest.update(f"{epoch} {len(order)}\x1f{chr(31).join(names.to_pylist())}".encode())
    for part in (batches.cell[order], offsets, batches.hashes[clips]):
        digest.update(np.ascontiguousarray(part).astype("<u8").tobytes())
    lists = Entries(offsets.astype(np.int32), clips.astype(np.int32), batches.ids).column()
    epochs = pa.array(np.full(len(order), epoch, dtype=np.int32))
    return pa.table({"epoch": epochs, "bucket": bucket, "ids": lists})


def _require_a_step(number: int, epochs: int, world_size: int, accumulate: int) -> None:
    if number < world_size * accumulate:
        each = f" with {accumulate} each (accumulate)" if accumulate > 1 else ""
        fewer = ", use fewer processes or accumulate less" if each else ", or use fewer processes"
        raise ConfigError(
            f"bucket_config: {number} micro batches in {epochs} epochs are fewer than the"
            f" {world_size} ranks{each}; lower batch_size, add clips or epochs{fewer}"
        )


def explain_no_batch(assignment: pd.DataFrame, rules: Sequence[BucketRule]) -> str:
    """Say why an assignment fills no batch and what to do about it."""
    cells = count_cells(assignment)
    if not cells:
        reasons = assignment["reason"].value_counts()
        found = ", ".join(f"{name} {count}" for name, count in reasons.items() if count)
        crop = "raise max_crop, " if reasons.get(TOO_MUCH_CROP, 0) else ""
        return (
            f"bucket_config: none of {len(assignment)} clips fits a bucket ({found or 'no clips'});"
            f" {crop}add smaller resolutions or shorter lengths, or loosen the filters"
        )
    largest = max(cells, key=lambda cell: cells[cell])
    size = batch_sizes(rules)[largest.resolution, largest.num_frames]
    count = cells[largest]
    return (
        f"bucket_config: no full batch: batch_size {size} but the largest bucket {largest} holds"
        f" {count} clips; lower batch_size to {count} or less, or add clips"
    )


def write_plan(plan: pd.DataFrame, path: str | Path, **settings: Any) -> None:
    """Write a compiled plan as Parquet; its hash and `settings` go into the schema's metadata."""
    metadata = json.dumps({**plan.attrs, **settings}, sort_keys=True)
    clips, new_ids = entries_of(pa.array(plan["ids"])).file_columns()
    table = pa.table(
        {
            "epoch": pa.array(plan["epoch"], pa.int32()),
            "bucket": pa.array(plan["bucket"], pa.string()),
            "clips": clips,
            "new_ids": new_ids,
        },
        metadata={_METADATA: metadata},
    )
    with atomic_path(path) as temporary:
        write_rows(table, temporary, use_dictionary=["epoch", "bucket"])


class BatchPlan:
    """A saved plan, read by position.

    Attributes:
        metadata: hash, world_size and epochs of the compilation and the settings stored with it.
        hash: identity of the sequence; a resumed run compares it.
        entries: the clips of all entries.
        table: columns epoch, bucket and ids; the latter are `entries`.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            with open_rows(path, memory_map=True, read_dictionary=["bucket"]) as file:
                self.metadata: dict[str, Any] = json.loads(metadata_of(file)[_METADATA])
                are_ids = "ids" in file.schema_arrow.names  # of a run begun before
                table = file.read(["epoch", "bucket", "ids"] if are_ids else _COLUMNS)
            if are_ids:
                self.entries = entries_of(table["ids"])
            else:
                self.entries = entries_of_file(table["clips"], table["new_ids"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise TableError(f"{path}: not a batch plan; rule assign_buckets makes it") from error
        self._buckets = table["bucket"].unify_dictionaries().combine_chunks()
        columns = {"epoch": table["epoch"].combine_chunks(), "bucket": self._buckets}
        self.table = pa.table({**columns, "ids": self.entries.column()})
        self.hash: str = self.metadata["hash"]

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, position: int) -> MicroBatch:
        if not 0 <= position < len(self):
            raise IndexError(f"plan position {position} outside 0..{len(self) - 1}")
        row = {name: self.table[name][position].as_py() for name in ("epoch", "bucket", "ids")}
        return MicroBatch(row["epoch"], Bucket.parse(row["bucket"]), row["ids"])

    def num_steps(self, world_size: int) -> int:
        """Return how many full steps `world_size` ranks make of this plan."""
        return len(self) // world_size

    def largest_entry(self) -> int:
        """Return the position of the first micro batch with the most pixels."""
        parsed = map(Bucket.parse, self._buckets.dictionary.to_pylist())
        pixels = np.array([bucket.num_frames * math.prod(bucket.size) for bucket in parsed])
        sizes = np.bincount(self.entries.entry, minlength=len(self))
        return int(np.argmax(pixels[self._buckets.indices.to_numpy()] * sizes))

    def items(self) -> pd.DataFrame:
        """Return the unique (id, bucket) pairs, columns id and bucket (text), sorted."""
        ids, id_names = _in_order(self.entries.ids)
        buckets, bucket_names = _in_order(self._buckets.dictionary)
        entry = buckets[self._buckets.indices.to_numpy()]
        key = entry[self.entries.entry] * max(len(id_names), 1) + ids[self.entries.clips]
        key = np.sort(pd.unique(key))  # few of many: no need to sort all
        columns = {
            ID: id_names.take(pa.array(key % max(len(id_names), 1))),
            "bucket": bucket_names.take(pa.array(key // max(len(id_names), 1))),
        }
        return pa.table(columns).to_pandas().astype(str)


def _in_order(values: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """The place of each text in their order, int64, and the texts in order."""
    order = pc.sort_indices(values)
    place = np.empty(len(order), dtype=np.int64)
    place[order.to_numpy()] = np.arange(len(order))
    return place, values.take(order)
