"""The batch plan: which clips form which micro batch, decided before training.

A plan is one flat sequence of micro batches, a pure function of (assignments, bucket_config,
seed, epochs, balance). World size W only deals it out: entry i belongs to step i // W, rank i % W.
After n entries have been used, training continues at entry n on any number of ranks.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from opensora.buckets.bucket import Bucket
from opensora.buckets.bucket_config import BucketConfig, BucketRule, parse_bucket_config
from opensora.core.errors import ConfigError, TableError
from opensora.core.io import atomic_path
from opensora.core.seed import derive_seed
from opensora.plans.balance import SampleCost, StepBalancer
from opensora.plans.micro_batches import EpochBatches, batch_sizes, count_cells, form_batches
from opensora.tables.columns import ID

_METADATA = b"opensora_plan"
_IDS = pa.list_(pa.large_string())
_SCHEMA = pa.schema(
    {
        "epoch": pa.int32(),
        "bucket": pa.string(),
        "ids": _IDS,
    }
)


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
    drop_last: bool = True,
    sample_cost: SampleCost | None = None,
    max_batches: int | None = None,
    max_clips: int | None = None,
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
        drop_last: False also trains what does not fill a batch, as one smaller batch per cell.
        sample_cost: makes the batches of a step cost about the same (`balance.py`), and the
            sequence depend on the world size.
        max_batches: stop with the epoch that reaches so many entries.
        max_clips: stop with the epoch that reaches so many clips, counted once per epoch.

    Returns:
        Columns epoch, bucket (text), ids (list), in order. `attrs["hash"]` identifies
        the sequence; "compiled_epochs" of the "epochs" are there.

    Raises:
        ConfigError: no batch can be filled, or the plan has fewer batches than ranks.
    """
    if min(epochs, world_size) < 1 or len(assignments) not in (1, epochs):
        raise ValueError(f"{epochs=}, {world_size=} and {len(assignments)=} do not fit together")
    rules = parse_bucket_config(bucket_config)
    balancer = StepBalancer(world_size, sample_cost) if sample_cost else None
    digest = hashlib.sha256()
    tables: list[pa.Table] = []
    number = clips = 0
    for epoch in range(epochs):
        table = assignments[epoch % len(assignments)]
        batches = form_batches(table, rules, seed=seed, epoch=epoch, drop_last=drop_last)
        rng = np.random.default_rng(derive_seed(seed, "plan", epoch))
        order = balancer.order(batches, rng) if balancer else rng.permutation(len(batches))
        tables.append(_epoch_table(epoch, batches, order, digest))
        number, clips = number + len(order), clips + batches.sizes.sum()
        if number >= (max_batches or math.inf) or clips >= (max_clips or math.inf):
            break
    if number == 0:
        raise ConfigError(explain_no_batch(assignments[0], rules))
    _require_a_step(number, epochs, world_size)
    plan = whole_steps(pa.concat_tables(tables), world_size)
    plan.attrs |= {"hash": digest.hexdigest(), "world_size": world_size}
    plan.attrs |= {"epochs": epochs, "compiled_epochs": len(tables)}
    return plan


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


def whole_steps(table: pa.Table, world_size: int) -> pd.DataFrame:
    """The entries of a flat sequence that fill whole steps of `world_size` data-parallel ranks.

    Args:
        table: columns epoch, bucket and ids.
        world_size: data-parallel ranks.
    """
    dealt = table.slice(0, len(table) // world_size * world_size)
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
    lists = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), batches.ids.take(pa.array(clips)), type=_IDS
    )
    epochs = pa.array(np.full(len(order), epoch, dtype=np.int32))
    return pa.table({"epoch": epochs, "bucket": bucket, "ids": lists})


def _require_a_step(number: int, epochs: int, world_size: int) -> None:
    if number < world_size:
        raise ConfigError(
            f"bucket_config: {number} micro batches in {epochs} epochs are fewer than the"
            f" {world_size} ranks; lower batch_size, add clips or epochs, or use fewer processes"
        )


def explain_no_batch(assignment: pd.DataFrame, rules: Sequence[BucketRule]) -> str:
    """Say why an assignment fills no batch and what to do about it."""
    cells = count_cells(assignment)
    if not cells:
        reasons = assignment["reason"].value_counts()
        found = ", ".join(f"{name} {count}" for name, count in reasons.items() if count)
        return (
            f"bucket_config: none of {len(assignment)} clips fits a bucket ({found or 'no clips'});"
            " add smaller resolutions or shorter lengths, or loosen the filters"
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
    table = pa.Table.from_pandas(plan, schema=_SCHEMA, preserve_index=False)
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({_METADATA: metadata}), temporary)


class BatchPlan:
    """A saved plan, read by position.

    Attributes:
        metadata: hash, world_size and epochs of the compilation and the settings stored with it.
        hash: identity of the sequence; a resumed run compares it.
        table: columns epoch, bucket and ids.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            table = pq.read_table(path, columns=_SCHEMA.names, memory_map=True)
            self.table = table.cast(_SCHEMA).combine_chunks()
            self.metadata: dict[str, Any] = json.loads(
                pq.read_schema(path).metadata[_METADATA],
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise TableError(f"{path}: not a batch plan; rule assign_buckets makes it") from error
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

    def items(self) -> pd.DataFrame:
        """Return the unique (id, bucket) pairs, columns id and bucket (text), sorted."""
        ids, id_names = _sorted_codes(pc.list_flatten(self.table["ids"]))
        entry, buckets = _sorted_codes(self.table["bucket"])
        bucket = entry[pc.list_parent_indices(self.table["ids"]).to_numpy()]
        key = np.sort(pd.unique(bucket * len(id_names) + ids))  # few of many: no need to sort all
        columns = {
            ID: id_names.take(pa.array(key % max(len(id_names), 1))),
            "bucket": buckets.take(pa.array(key // max(len(id_names), 1))),
        }
        return pa.table(columns).to_pandas().astype(str)


def _sorted_codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Number the values of a column of text in their order; returns int64 codes and the values."""
    encoded = pa.chunked_array(column).combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(order)
