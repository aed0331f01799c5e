"""The batch plan: which clips form which micro batch, decided before training.

A plan is one flat sequence of micro batches, a pure function of (assignments, bucket_config,
seed, epochs). World size W only deals it out: entry i belongs to step i // W, rank i % W. After
n entries have been used, training continues at entry n on any number of ranks.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from opensora.core.errors import ConfigError, TableError
from opensora.core.io import atomic_path
from opensora.core.seed import derive_seed
from opensora.datasets.backoff import relieve_starved_cells
from opensora.datasets.bucket import Bucket, BucketRule, parse_bucket_config
from opensora.tables.columns import ID

_METADATA = b"opensora_plan"
_SCHEMA = pa.schema(
    {
        "epoch": pa.int32(),
        "step": pa.int64(),
        "rank": pa.int32(),
        "bucket": pa.string(),
        "ids": pa.list_(pa.string()),
    }
)


class MicroBatch(NamedTuple):
    """One entry of the plan."""

    epoch: int
    bucket: Bucket
    ids: list[str]


def compile_plan(
    assignments: Sequence[pd.DataFrame],
    bucket_config: Mapping[str, Mapping[Any, Any]],
    *,
    seed: int,
    epochs: int,
    world_size: int = 1,
) -> pd.DataFrame:
    """Compile the micro batches of all epochs.

    Every batch is full. Clips beyond the last full batch of their cell rest for the epoch; the
    shuffle differs by epoch, so each has its turn. Cells that can not fill one batch back off
    (`backoff.py`). Entries beyond the last full step are left out, so all ranks have as many.

    Args:
        assignments: ASSIGNMENT tables, one per epoch, or a single one for all epochs.
        bucket_config: the config the clips were assigned with.
        seed: order of clips and batches.
        epochs: number of passes.
        world_size: data-parallel ranks.

    Returns:
        Columns epoch, step, rank, bucket (text), ids (list); one row per micro batch, in order.
        `attrs["hash"]` identifies the sequence, whatever the world size.

    Raises:
        ConfigError: no batch can be filled, or the plan has fewer batches than ranks.
    """
    if epochs < 1 or world_size < 1 or len(assignments) not in (1, epochs):
        raise ValueError(f"{epochs=}, {world_size=} and {len(assignments)=} do not fit together")
    rules = parse_bucket_config(bucket_config)
    rows: list[tuple[int, str, list[str]]] = []
    for epoch in range(epochs):
        assignment = assignments[epoch % len(assignments)]
        rng = np.random.default_rng(derive_seed(seed, "plan", epoch))
        batches = _epoch_batches(assignment, rules, rng)
        rows += [(epoch, str(bucket), ids) for bucket, ids in batches]
    if not rows:
        raise ConfigError(_explain_no_batch(assignments[0], rules))
    if len(rows) < world_size:
        raise ConfigError(
            f"bucket_config: {len(rows)} micro batches in {epochs} epochs are fewer than the"
            f" {world_size} ranks; lower batch_size, add clips or epochs, or use fewer processes"
        )
    digest = hashlib.sha256()
    for epoch, bucket, ids in rows:
        digest.update("\x1f".join((str(epoch), bucket, *ids, "\n")).encode())
    dealt = rows[: len(rows) // world_size * world_size]
    index = np.arange(len(dealt))
    plan = pd.DataFrame(
        {
            "epoch": [row[0] for row in dealt],
            "step": index // world_size,
            "rank": index % world_size,
            "bucket": [row[1] for row in dealt],
            "ids": [row[2] for row in dealt],
        }
    )
    plan.attrs = {"hash": digest.hexdigest(), "world_size": world_size, "epochs": epochs}
    return plan


def _epoch_batches(
    assignment: pd.DataFrame, rules: Sequence[BucketRule], rng: np.random.Generator
) -> list[tuple[Bucket, list[str]]]:
    """Form the full batches of one epoch, shuffled."""
    batch_sizes = {(rule.resolution, rule.num_frames): rule.batch_size for rule in rules}
    batches: list[tuple[Bucket, list[str]]] = []
    for cell, ids in final_cells(assignment, rules):
        batch_size = batch_sizes[cell.resolution, cell.num_frames]
        assert batch_size is not None  # a cell without one never receives clips
        order = rng.permutation(len(ids))
        for start in range(0, len(ids) - batch_size + 1, batch_size):
            batches.append((cell, ids[order[start : start + batch_size]].tolist()))
    return [batches[i] for i in rng.permutation(len(batches))]


def final_cells(
    assignment: pd.DataFrame, rules: Sequence[BucketRule]
) -> Iterator[tuple[Bucket, np.ndarray]]:
    """Yield each cell that is trained after back-off, in order, with its ids, sorted."""
    cells = group_by_cell(assignment)
    targets = relieve_starved_cells({cell: len(ids) for cell, ids in cells.items()}, rules)
    members: dict[Bucket, list[np.ndarray]] = {}
    for cell, target in targets.items():
        if target is not None:
            members.setdefault(target, []).append(cells[cell])
    for target in sorted(members):
        yield target, np.sort(np.concatenate(members[target]))


def group_by_cell(assignment: pd.DataFrame) -> dict[Bucket, np.ndarray]:
    """Return the ids of the placed clips by assigned cell."""
    placed = assignment[assignment["bucket_frames"] > 0]
    frames = placed["bucket_frames"].astype(int).astype(str)
    names = placed["bucket_resolution"] + "|" + frames + "|" + placed["bucket_aspect_ratio"]
    groups = placed[ID].groupby(names)
    return {Bucket.parse(str(name)): ids.to_numpy(dtype=object) for name, ids in groups}


def _explain_no_batch(assignment: pd.DataFrame, rules: Sequence[BucketRule]) -> str:
    cells = group_by_cell(assignment)
    if not cells:
        reasons = assignment["reason"].value_counts()
        found = ", ".join(f"{name} {count}" for name, count in reasons.items()) or "no clips"
        return (
            f"bucket_config: none of {len(assignment)} clips fits a bucket ({found}); add smaller"
            " resolutions or shorter lengths, or loosen the filters"
        )
    sizes = {(rule.resolution, rule.num_frames): rule.batch_size for rule in rules}
    largest = max(cells, key=lambda cell: len(cells[cell]))
    count = len(cells[largest])
    return (
        f"bucket_config: no full batch: batch_size {sizes[largest.resolution, largest.num_frames]}"
        f" but the largest bucket {largest} holds {count} clips; lower batch_size to {count} or"
        " less, or add clips"
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
    """

    def __init__(self, path: str | Path) -> None:
        try:
            self._table = pq.read_table(path, memory_map=True).combine_chunks()
            self.metadata: dict[str, Any] = json.loads(self._table.schema.metadata[_METADATA])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise TableError(f"{path}: not a batch plan; rule assign_buckets makes it") from error
        self.hash: str = self.metadata["hash"]

    def __len__(self) -> int:
        return self._table.num_rows

    def __getitem__(self, position: int) -> MicroBatch:
        if not 0 <= position < len(self):
            raise IndexError(f"plan position {position} outside 0..{len(self) - 1}")
        row = {name: self._table[name][position].as_py() for name in ("epoch", "bucket", "ids")}
        return MicroBatch(row["epoch"], Bucket.parse(row["bucket"]), row["ids"])

    def num_steps(self, world_size: int) -> int:
        """Return how many full steps `world_size` ranks make of this plan."""
        return len(self) // world_size

    def items(self) -> pd.DataFrame:
        """Return the unique (id, bucket) pairs, columns id and bucket (text), sorted."""
        ids = self._table["ids"].combine_chunks()
        frame = pd.DataFrame(
            {
                ID: ids.flatten().to_pandas(),
                "bucket": self._table["bucket"].take(ids.value_parent_indices()).to_pandas(),
            }
        )
        unique = frame.drop_duplicates().sort_values(["bucket", ID], ignore_index=True)
        return unique.astype(str)
